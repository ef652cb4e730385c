#include <gtest/gtest.h>
#include <hdf5.h>

#include <fstream>
#include <functional>
#include <numeric>

#include "host/error.hpp"
#include "host/trace.hpp"

namespace bitcluster {
namespace {

/// Writes a trace file piece by piece.
class TraceFile {
 public:
  TraceFile()
      : path_(testing::TempDir() + "/trace_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".h5") {
    file_ = H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file_, "layers", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  }
  ~TraceFile() { close(); }

  TraceFile& layer(const std::string& name) {
    layer_ = "/layers/" + name;
    H5Gclose(H5Gcreate2(file_, layer_.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    return *this;
  }
  /// Values 0, 1, 2, ... plus `first`.
  TraceFile& tensor(const std::string& name, std::vector<hsize_t> shape, int first = 0, hid_t type = H5T_STD_I32LE,
                    std::int64_t last = -1) {
    std::size_t size = 1;
    for (const hsize_t extent : shape) size *= extent;
    std::vector<std::int64_t> values(size);
    std::iota(values.begin(), values.end(), first);
    if (last >= 0) values.back() = last;
    const hid_t space = H5Screate_simple(int(shape.size()), shape.data(), nullptr);
    const hid_t set =
        H5Dcreate2(file_, (layer_ + "/" + name).c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Sclose(space);
    return *this;
  }
  TraceFile& integers(const std::string& name, std::vector<int> values, bool scalar = false,
                      hid_t type = H5T_STD_I64LE) {
    const hsize_t size = values.size();
    const hid_t space = scalar ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &size, nullptr);
    const hid_t group = H5Gopen2(file_, layer_.c_str(), H5P_DEFAULT);
    const hid_t attribute = H5Acreate2(group, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, H5T_NATIVE_INT, values.data());
    H5Aclose(attribute);
    H5Gclose(group);
    H5Sclose(space);
    return *this;
  }
  TraceFile& kind(const std::string& text, bool variable = true) {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, variable ? H5T_VARIABLE : text.size());
    if (variable) H5Tset_cset(type, H5T_CSET_UTF8);
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t group = H5Gopen2(file_, layer_.c_str(), H5P_DEFAULT);
    const hid_t attribute = H5Acreate2(group, "kind", type, space, H5P_DEFAULT, H5P_DEFAULT);
    const char* pointer = text.c_str();
    H5Awrite(attribute, type, variable ? static_cast<const void*>(&pointer) : text.data());
    H5Aclose(attribute);
    H5Gclose(group);
    H5Sclose(space);
    H5Tclose(type);
    return *this;
  }
  Trace read() {
    close();
    return read_trace(path_);
  }
  std::string message() {
    try {
      read();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

 private:
  void close() {
    if (file_ >= 0) H5Fclose(file_);
    file_ = -1;
  }
  std::string path_, layer_;
  hid_t file_ = -1;
};

#define EXPECT_SAYS(file, text)                                  \
  do {                                                           \
    const std::string message = (file).message();                \
    EXPECT_NE(message.find(text), std::string::npos) << message; \
  } while (false)

TEST(Trace, ReadsLayersInTheOrderOfTheirNames) {
  TraceFile file;
  file.layer("b_fc").kind("fc", false).tensor("weights", {2, 12}, -3).tensor("activations", {2, 3, 2, 2}, -5);
  file.layer("a_conv").kind("conv").tensor("weights", {4, 3, 3, 2}).tensor("activations", {2, 6, 5, 7}, 0);
  file.integers("stride", {2, 1}).integers("padding", {0, 1, 2, 3}).integers("groups", {2}, true, H5T_STD_U8LE);
  const Trace trace = file.read();
  ASSERT_EQ(trace.layers.size(), 2u);
  const TraceLayer& conv = trace.layers[0];
  EXPECT_EQ(conv.geometry.name, "a_conv");
  EXPECT_FALSE(conv.geometry.fully_connected);
  EXPECT_EQ(conv.geometry.groups, 2);
  EXPECT_EQ(conv.geometry.input, (Shape{6, 5, 7}));
  EXPECT_EQ(conv.geometry.window, (Window{3, 2, 2, 1, 1, 1, 0, 1, 2, 3}));
  EXPECT_EQ(conv.geometry.output, (Shape{4, 3, 10}));
  EXPECT_EQ(conv.images, 2);
  EXPECT_EQ(conv.weights[71], 71);
  EXPECT_EQ(conv.weight_format.bits, 8);   // 71 needs 7 bits and a sign
  EXPECT_EQ(conv.weight_format.terms, 6);  // 63
  EXPECT_EQ(conv.activation_bits, 9);      // 419
  EXPECT_FALSE(conv.activations_signed);
  EXPECT_EQ(conv.tensors(1).activations.front(), 210);
  EXPECT_EQ(conv.tensors(1).activations.size(), 210u);
  const TraceLayer& fc = trace.layers[1];
  EXPECT_TRUE(fc.geometry.fully_connected);
  EXPECT_EQ(fc.geometry.input, (Shape{12, 1, 1}));
  EXPECT_EQ(fc.geometry.output, (Shape{2, 1, 1}));
  EXPECT_EQ(fc.weights[0], -3);
  EXPECT_TRUE(fc.activations_signed);
  EXPECT_EQ(fc.activation_bits, 8);

  Accelerator accelerator;
  accelerator.off_chip_gbyte_per_s = 1e6;
  accelerator.weight_buffer = accelerator.activation_buffer = 1 << 20;
  EXPECT_EQ(emulate(accelerator, conv.tensors()).compute_cycles, 2 * 30 * 6);
}

TEST(Trace, ReadsEveryIntegerTypeAndScalarAttributes) {
  for (const hid_t type : {H5T_STD_I16BE, H5T_STD_U16LE, H5T_STD_I64LE, H5T_STD_U64LE}) {
    TraceFile file;
    file.layer("x").kind("conv").tensor("weights", {1, 1, 3, 3}, 0, type).tensor("activations", {1, 1, 4, 4}, 0, type);
    file.integers("stride", {2}, true).integers("padding", {1}, true).integers("dilation", {1, 1});
    const Trace trace = file.read();
    EXPECT_EQ(trace.layers[0].weights[8], 8);
    EXPECT_EQ(trace.layers[0].geometry.window, (Window{3, 3, 2, 2, 1, 1, 1, 1, 1, 1}));
  }
}

TEST(Trace, ActivationsAreOptional) {
  TraceFile fc;
  fc.layer("x").kind("fc").tensor("weights", {2, 5});
  const Trace trace = fc.read();
  EXPECT_EQ(trace.layers[0].images, 0);
  EXPECT_TRUE(trace.layers[0].tensors().activations.empty());
}

TEST(Trace, ConvWithoutActivationsNeedsItsInputSize) {
  {
    TraceFile file;
    file.layer("x").kind("conv").tensor("weights", {2, 5, 1, 1});
    EXPECT_SAYS(file, "size of the layer's input is unknown");
  }
  TraceFile file;
  file.layer("x").kind("conv").tensor("weights", {2, 5, 1, 1}).integers("input", {7, 9});
  EXPECT_EQ(file.read().layers[0].geometry.output, (Shape{2, 7, 9}));
}

TEST(Trace, ObservedFormatByHand) {
  const std::vector<std::int16_t> weights = {0, -7, 5};
  EXPECT_EQ(observed_format(weights, Encoding::binary).bits, 4);
  EXPECT_EQ(observed_format(weights, Encoding::binary).terms, 3);
  EXPECT_EQ(observed_format(weights, Encoding::signed_digit).terms, 2);
  const std::vector<std::int16_t> zeros = {0};
  EXPECT_EQ(observed_format(zeros, Encoding::binary).terms, 1);
  const std::vector<std::int16_t> wide = {-32767};
  EXPECT_EQ(observed_format(wide, Encoding::binary).bits, 16);
}

TEST(TraceErrors, NameFileLayerAndCause) {
  EXPECT_THROW(read_trace("/nonexistent.h5"), Error);
  const std::string text = testing::TempDir() + "/not_a_trace.h5";
  std::ofstream(text) << "no HDF5";
  EXPECT_THROW(read_trace(text), Error);
  {
    TraceFile file;
    EXPECT_SAYS(file, "no layers");
  }
  const auto conv = [](TraceFile& file) -> TraceFile& { return file.layer("bad").kind("conv"); };
  {
    TraceFile file;
    file.layer("bad").tensor("weights", {2, 2});
    EXPECT_SAYS(file, "layer 'bad': kind: this attribute is missing");
  }
  {
    TraceFile file;
    file.layer("bad").kind("pool").tensor("weights", {2, 2});
    EXPECT_SAYS(file, "'pool' is not a kind");
  }
  {
    TraceFile file;
    file.layer("bad").integers("kind", {1});
    EXPECT_SAYS(file, "not one text");
  }
  {
    TraceFile file;
    conv(file);
    EXPECT_SAYS(file, "weights: there is no such dataset");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2});
    EXPECT_SAYS(file, "not the shape of a conv layer");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 2});
    EXPECT_SAYS(file, "3 dimensions");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 1, 1}).tensor("activations", {1, 2});
    EXPECT_SAYS(file, "not the input of a conv layer");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 1, 1}).tensor("activations", {1, 3, 4, 4});
    EXPECT_SAYS(file, "give 2 channels");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 5, 1}).tensor("activations", {1, 2, 4, 4});
    EXPECT_SAYS(file, "larger than the padded input");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {3, 2, 1, 1}).tensor("activations", {1, 4, 4, 4}).integers("groups", {2}, true);
    EXPECT_SAYS(file, "3 filters do not divide");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 1, 1}).tensor("activations", {1, 2, 4, 4}).integers("stride", {0}, true);
    EXPECT_SAYS(file, "stride: 0 is out of range");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 1, 1}).tensor("activations", {1, 2, 4, 4}).integers("padding", {1, 1, 1});
    EXPECT_SAYS(file, "padding: it is not 1 or 2 or 4");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {2, 2, 1, 1}).tensor("activations", {1, 2, 4, 4}).integers("strides", {1});
    EXPECT_SAYS(file, "strides: there is no such attribute");
  }
  {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}).tensor("activations", {1, 5});
    EXPECT_SAYS(file, "give 6 values per image");
  }
  {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, 0, H5T_IEEE_F32LE);
    EXPECT_SAYS(file, "not integers");
  }
}

TEST(TraceErrors, ValuesMustFitInt16) {
  for (const std::int64_t value : {std::int64_t(32768), std::int64_t(1) << 40, std::int64_t(65536) * 65536}) {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, 0, H5T_STD_I64LE, value);
    EXPECT_SAYS(file, "outside -32767..32767");
  }
  TraceFile file;
  file.layer("bad").kind("fc").tensor("weights", {2, 6}, -32768);
  EXPECT_SAYS(file, "outside -32767..32767");
}

}  // namespace
}  // namespace bitcluster
