#include <gtest/gtest.h>
#include <hdf5.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>

#include "host/base/error.hpp"
#include "host/data/trace.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/expect_message.hpp"

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
  /// Values 0, 1, 2, ... plus `first`. One filter or image is one piece of the file, with a checksum, unless there are
  /// many.
  TraceFile& tensor(const std::string& name, std::vector<hsize_t> shape, int first = 0, hid_t type = H5T_STD_I32LE,
                    std::int64_t last = -1) {
    std::size_t size = 1;
    for (const hsize_t extent : shape) size *= extent;
    std::vector<std::int64_t> values(size);
    std::iota(values.begin(), values.end(), first);
    if (last >= 0) values.back() = last;
    const hid_t space = H5Screate_simple(int(shape.size()), shape.data(), nullptr);
    const hid_t pieces = H5Pcreate(H5P_DATASET_CREATE);
    std::vector<hsize_t> piece = shape;
    piece[0] = shape[0] > 100000 ? shape[0] : 1;
    H5Pset_chunk(pieces, int(piece.size()), piece.data());
    H5Pset_fletcher32(pieces);
    const hid_t set = H5Dcreate2(file_, (layer_ + "/" + name).c_str(), type, space, H5P_DEFAULT, pieces, H5P_DEFAULT);
    H5Pclose(pieces);
    H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(set);
    H5Sclose(space);
    return *this;
  }
  /// A tensor of the same type that claims its shape and has no values.
  TraceFile& unwritten(const std::string& name, std::vector<hsize_t> shape) {
    const hid_t space = H5Screate_simple(int(shape.size()), shape.data(), nullptr);
    const hid_t pieces = H5Pcreate(H5P_DATASET_CREATE);
    const std::vector<hsize_t> piece(shape.size(), 1);
    H5Pset_chunk(pieces, int(piece.size()), piece.data());
    H5Dclose(H5Dcreate2(file_, (layer_ + "/" + name).c_str(), H5T_STD_I32LE, space, H5P_DEFAULT, pieces, H5P_DEFAULT));
    H5Pclose(pieces);
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
  TraceFile& kind(const std::string& text, bool variable = false) {
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
    return Trace(path_);
  }
  /// Changes a value of the written file behind the back of HDF5, and so of its checksum.
  void damage(std::int32_t value) {
    std::ifstream in(path_, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(in), {}};
    std::string pattern(sizeof value, '\0');
    std::memcpy(pattern.data(), &value, sizeof value);
    const std::size_t place = bytes.find(pattern);
    ASSERT_NE(place, std::string::npos);
    ASSERT_EQ(bytes.find(pattern, place + 1), std::string::npos);
    std::fstream out(path_, std::ios::binary | std::ios::in | std::ios::out);
    out.seekp(std::streamoff(place)).put(char(~bytes[place]));
  }
  const std::string& path() const { return path_; }

 private:
  void close() {
    if (file_ >= 0) H5Fclose(file_);
    file_ = -1;
  }
  std::string path_, layer_ = "/layers";
  hid_t file_ = -1;
};

#define EXPECT_SAYS(file, text)                                           \
  do {                                                                    \
    const std::string message = message_of([&] { (void)(file).read(); }); \
    EXPECT_NE(message.find(text), std::string::npos) << message;          \
    EXPECT_NE(message.find((file).path()), std::string::npos) << message; \
  } while (false)

TEST(Trace, ReadsLayersInTheOrderOfTheirNames) {
  TraceFile file;
  file.layer("b_fc").kind("fc").tensor("weights", {2, 12}, -3).tensor("activations", {2, 3, 2, 2}, -5);
  file.layer("a_conv").kind("conv").tensor("weights", {4, 3, 3, 2}).tensor("activations", {2, 6, 5, 7}, 0);
  file.integers("stride", {2, 1}).integers("padding", {0, 1, 2, 3}).integers("groups", {2}, true, H5T_STD_U8LE);
  Trace trace = file.read();
  ASSERT_EQ(trace.layers().size(), 2u);
  const TraceLayer& conv = trace.layers()[0];
  EXPECT_EQ(conv.geometry.name, "a_conv");
  EXPECT_FALSE(conv.geometry.fully_connected);
  EXPECT_EQ(conv.geometry.groups, 2);
  EXPECT_EQ(conv.geometry.input, (Shape{6, 5, 7}));
  EXPECT_EQ(conv.geometry.window, (Window{3, 2, 2, 1, 1, 1, 0, 1, 2, 3}));
  EXPECT_EQ(conv.geometry.output, (Shape{4, 3, 10}));
  EXPECT_EQ(conv.images, 2);
  EXPECT_EQ(conv.weight_format.bits, 8);   // 71 needs 7 bits and a sign
  EXPECT_EQ(conv.weight_format.terms, 6);  // 63
  EXPECT_EQ(conv.activation_bits, 9);      // 419
  EXPECT_FALSE(conv.activations_signed);
  const TraceLayer& fc = trace.layers()[1];
  EXPECT_TRUE(fc.geometry.fully_connected);
  EXPECT_EQ(fc.geometry.input, (Shape{12, 1, 1}));
  EXPECT_EQ(fc.geometry.output, (Shape{2, 1, 1}));
  EXPECT_TRUE(fc.activations_signed);
  EXPECT_EQ(fc.activation_bits, 8);

  Accelerator accelerator;
  accelerator.off_chip_gbyte_per_s = 1e6;
  accelerator.weight_buffer = accelerator.activation_buffer = 1 << 20;
  EXPECT_EQ(emulate(accelerator, trace.tensors(0)).compute_cycles, 2 * 30 * 6);
}

/// first, first + 1, ...
std::vector<std::int16_t> run(int first, std::size_t count) {
  std::vector<std::int16_t> values(count);
  std::iota(values.begin(), values.end(), std::int16_t(first));
  return values;
}

TEST(Trace, TensorsOfAnyLayerAndImageInAnyOrder) {
  TraceFile file;
  file.layer("b_fc").kind("fc").tensor("weights", {2, 12}, -3).tensor("activations", {2, 3, 2, 2}, -5);
  file.layer("a_conv").kind("conv").tensor("weights", {4, 3, 3, 2}).tensor("activations", {3, 3, 5, 7}, 0);
  file.layer("c_weights").kind("fc").tensor("weights", {5, 4}, 900);
  Trace trace = file.read();
  struct Layer {
    int first_weight, weights, first_activation, activations;
  };
  const std::vector<Layer> layers = {{0, 72, 0, 105}, {-3, 24, -5, 12}, {900, 20, 0, 0}};
  for (const auto& [layer, image] : std::vector<std::pair<int, int>>{
           {0, 2}, {0, 0}, {0, 1}, {1, 1}, {2, 0}, {1, 1}, {1, 0}, {0, 0}, {2, 0}, {2, 0}}) {
    const LayerTensors tensors = trace.tensors(layer, image);
    const Layer& expected = layers[layer];
    EXPECT_EQ(tensors.geometry.name, trace.layers()[layer].geometry.name);
    EXPECT_EQ(std::vector(tensors.weights.begin(), tensors.weights.end()),
              run(expected.first_weight, expected.weights));
    EXPECT_EQ(std::vector(tensors.activations.begin(), tensors.activations.end()),
              run(expected.first_activation + image * expected.activations, expected.activations));
    EXPECT_EQ(tensors.activations_signed, layer == 1);
    EXPECT_EQ(tensors.activation_bits, layer == 0 ? 9 : 8);  // 314
  }
}

TEST(Trace, ReadsEveryIntegerTypeAndScalarAttributes) {
  for (const hid_t type : {H5T_STD_I16BE, H5T_STD_U16LE, H5T_STD_I64LE, H5T_STD_U64LE}) {
    TraceFile file;
    file.layer("x").kind("conv").tensor("weights", {1, 1, 3, 3}, 0, type).tensor("activations", {1, 1, 4, 4}, 0, type);
    file.integers("stride", {2}, true).integers("padding", {1}, true).integers("dilation", {1, 1});
    Trace trace = file.read();
    EXPECT_EQ(trace.tensors(0).weights[8], 8);
    EXPECT_EQ(trace.tensors(0).activations[15], 15);
    EXPECT_EQ(trace.layers()[0].geometry.window, (Window{3, 3, 2, 2, 1, 1, 1, 1, 1, 1}));
  }
}

TEST(Trace, ActivationsAreOptional) {
  TraceFile fc;
  fc.layer("x").kind("fc").tensor("weights", {2, 5});
  Trace trace = fc.read();
  EXPECT_EQ(trace.layers()[0].images, 0);
  EXPECT_TRUE(trace.tensors(0).activations.empty());
}

TEST(Trace, ConvWithoutActivationsNeedsItsInputSize) {
  {
    TraceFile file;
    file.layer("x").kind("conv").tensor("weights", {2, 5, 1, 1});
    EXPECT_SAYS(file, "size of the layer's input is unknown");
  }
  TraceFile file;
  file.layer("x").kind("conv").tensor("weights", {2, 5, 1, 1}).integers("input", {7, 9});
  EXPECT_EQ(file.read().layers()[0].geometry.output, (Shape{2, 7, 9}));
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

TraceFile& conv(TraceFile& file) { return file.layer("bad").kind("conv"); }

TEST(TraceErrors, NameFileLayerAndCause) {
  EXPECT_THROW(Trace("/nonexistent.h5"), Error);
  const std::string text = testing::TempDir() + "/not_a_trace.h5";
  std::ofstream(text) << "no HDF5";
  EXPECT_THROW(Trace{text}, Error);
  {
    TraceFile file;
    EXPECT_SAYS(file, "no layers");
  }
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
    file.layer("bad").kind("fc", true).tensor("weights", {2, 2});
    EXPECT_SAYS(file, "layer 'bad': kind: it is a text of variable length; store texts with a fixed length");
  }
  {
    TraceFile file;
    conv(file);
    EXPECT_SAYS(file, "weights: there is no such dataset");
  }
}

TEST(TraceErrors, NameShapesThatDoNotFit) {
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
    file.layer("bad").kind("fc").tensor("weights", {2, 6}).tensor("activations", {1, 5});
    EXPECT_SAYS(file, "give 6 values per image");
  }
  {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, 0, H5T_IEEE_F32LE);
    EXPECT_SAYS(file, "not integers");
  }
}

TEST(TraceErrors, NameSizesThatAreTooLarge) {
  {
    TraceFile file;  // 60000 x 40000 channels are negative as int
    conv(file).tensor("weights", {1, 40000, 1, 1}, 0, H5T_STD_U16LE).integers("groups", {60000}, true);
    EXPECT_SAYS(file, "groups: 60000 of 40000 channels each are too many");
  }
  {
    TraceFile file;  // 2^64 values
    conv(file).unwritten("weights", {8, 1 << 30, 1 << 30, 2});
    EXPECT_SAYS(file, "weights: it claims 8 x 1073741824 x 1073741824 x 2 values");
  }
  {
    TraceFile file;
    conv(file).unwritten("weights", {8589934592, 1073741824});
    EXPECT_SAYS(file, "weights: it claims 8589934592 x 1073741824 values");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {1, 1, 1, 1}).integers("input", {65535, 65535}).integers("padding", {65535}, true);
    EXPECT_SAYS(file, "its output has 1 x 196605 x 196605 values, more than 8589934592");
  }
  {
    TraceFile file;
    conv(file).tensor("weights", {1, 1, 1, 1}).tensor("activations", {1, 1, 1, 1}).integers("padding", {9000}, true);
    EXPECT_SAYS(file, "its input with its padding has 1 x 18001 x 18001 values, more than 268435456");
  }
}

TEST(TraceErrors, NameMoreImagesThanAreReadOneByOne) {
  TraceFile file;
  file.layer("bad").kind("fc").tensor("weights", {1, 1}).tensor("activations", {(1 << 20) + 1, 1}, 0, H5T_STD_I8LE);
  EXPECT_SAYS(file, "activations: they are of 1048577 images; give 1048576 or fewer");
}

TEST(TraceErrors, NameAttributesThatCannotBe) {
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
}

TEST(TraceErrors, WrongKindsOfObjects) {
  {
    TraceFile file;
    file.layer("bad").kind("fc").layer("bad/weights");
    EXPECT_SAYS(file, "layer 'bad': weights: it is not a dataset");
  }
  {
    TraceFile file;
    file.tensor("bad", {2, 2});
    EXPECT_SAYS(file, "layer 'bad': it is not a group");
  }
}

TEST(TraceErrors, DamageMetByATaskNamesTheDataset) {
  TraceFile file;
  file.layer("a").kind("fc").tensor("weights", {2, 6}, 20000).tensor("activations", {3, 6}, 10000);
  file.layer("b").kind("fc").tensor("weights", {2, 6});
  Trace trace = file.read();
  file.damage(10007);  // of image 1
  trace.tensors(1);
  const std::string message = message_of([&] { trace.tensors(0, 1); });
  EXPECT_EQ(message.find("'" + file.path() + "': layer 'a': activations: "), 0u) << message;
  EXPECT_EQ(trace.tensors(1).weights[1], 1) << "a failure leaves nothing half read";
  EXPECT_EQ(trace.tensors(0, 2).activations[0], 10012);
  file.damage(20001);
  EXPECT_EQ(trace.tensors(0, 0).weights[1], 20001) << "the weights of the latest layer are kept";
  trace.tensors(1);
  const std::string other = message_of([&] { trace.tensors(0); });
  EXPECT_EQ(other.find("'" + file.path() + "': layer 'a': weights: "), 0u) << other;
  EXPECT_NE(message_of([&] { Trace{file.path()}; }), "no error") << "it is met when the file is read, too";
}

TEST(TraceErrors, ValuesMustFitInt16) {
  for (const std::int64_t value : {std::int64_t(32768), std::int64_t(1) << 40, std::int64_t(65536) * 65536}) {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, 0, H5T_STD_I64LE, value);
    EXPECT_SAYS(file, "outside -32767..32767");
  }
  for (const hid_t type : {H5T_STD_U16LE, H5T_STD_U16BE, H5T_STD_U32BE, H5T_STD_U64BE, H5T_STD_I64BE}) {
    for (const std::int64_t value : {32768, 65535}) {
      TraceFile file;
      file.layer("bad").kind("fc").tensor("weights", {2, 6}, 0, type, value);
      EXPECT_SAYS(file, "layer 'bad': weights: a value is outside -32767..32767");
    }
    TraceFile file;
    file.layer("good").kind("fc").tensor("weights", {2, 6}, 0, type, 32767);
    EXPECT_EQ(file.read().tensors(0).weights[11], 32767);
  }
  for (const int first : {-32768, -32769}) {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, first);
    EXPECT_SAYS(file, "outside -32767..32767");
  }
  {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, -32768, H5T_STD_I16LE);
    EXPECT_SAYS(file, "outside -32767..32767");
  }
  {
    TraceFile file;
    file.layer("bad").kind("fc").tensor("weights", {2, 6}, -32767, H5T_STD_I32LE, 32767);
    EXPECT_EQ(file.read().tensors(0).weights[11], 32767);
  }
  TraceFile file;  // in the last image
  file.layer("bad").kind("fc").tensor("weights", {2, 6}).tensor("activations", {3, 6}, 0, H5T_STD_I32LE, 32768);
  EXPECT_SAYS(file, "layer 'bad': activations: a value is outside -32767..32767");
}

// HDF5 1.10.8 dies while it opens or lists what is in most of these, found by tests/fuzz; others may say what is wrong.
TEST(Trace, DamageThatCrashesTheLibraryIsAnError) {
  unsigned major, minor, release;
  H5get_libversion(&major, &minor, &release);
  int crashes = 0;
  for (int file = 1; file <= 5; ++file) {
    const std::string path =
        BITCLUSTER_SOURCE_DIR "/tests/fuzz/findings/trace/hdf5_crash_" + std::to_string(file) + ".h5";
    const std::string message = message_of([&] { const Trace trace(path); });
    EXPECT_NE(message.find("hdf5_crash_"), std::string::npos) << message;
    crashes += message.find("it is damaged: HDF5 crashes on what is written between its values") != std::string::npos;
  }
  if (major == 1 && minor == 10 && release == 8) {
    EXPECT_GT(crashes, 0);
  }
}

}  // namespace
}  // namespace bitcluster
