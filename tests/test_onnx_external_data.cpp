#include <sys/stat.h>

#include <filesystem>
#include <functional>

#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

namespace fs = std::filesystem;

using Entries = std::vector<std::pair<std::string, std::string>>;

/// A model in a folder of its own: a 1x1 convolution whose two weights, 3 and 5, lie in another file.
class OnnxExternalData : public testing::Test {
 protected:
  OnnxExternalData() {
    const testing::TestInfo& test = *testing::UnitTest::GetInstance()->current_test_info();
    outside_ = fs::path(testing::TempDir()) / (std::string("external_data_") + test.name());
    folder_ = outside_ / "models";
    fs::remove_all(outside_);
    fs::create_directories(folder_ / "sub");
    const Floats values = {-1, 3, 5, -1};
    for (const fs::path& path : {folder_ / "weights.data", folder_ / "sub" / "weights.data", outside_ / "secret"}) {
      std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(values.data()), 16);
    }
  }
  ~OnnxExternalData() override { fs::remove_all(outside_); }

  static void refer(onnx::TensorProto& tensor, const Entries& entries) {
    tensor.clear_float_data();
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] : entries) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
  }

  Network import(const Entries& entries) const {
    ModelBuilder m({1, 2, 1, 1});
    m.conv("x", "y", 2, 1);
    refer(*m.model.mutable_graph()->mutable_initializer(0), entries);
    return import_model(m);
  }

  Network import_model(const ModelBuilder& m) const {
    const std::string path = (folder_ / "model.onnx").string();
    std::ofstream(path, std::ios::binary) << m.model.SerializeAsString();
    return import_onnx(path);
  }

  std::string error(const Entries& entries) const {
    try {
      import(entries);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  fs::path outside_, folder_;
};

TEST_F(OnnxExternalData, IsReadFromBesideTheModel) {
  const Floats expected = {3, 5};
  for (const char* location : {"weights.data", "./weights.data", "sub/weights.data"}) {
    const Network network = import({{"location", location}, {"offset", "4"}, {"length", "8"}, {"checksum", "unknown"}});
    EXPECT_EQ(get<Convolution>(network, 1).weights, expected) << location;
  }
  fs::create_symlink("sub/weights.data", folder_ / "link");
  EXPECT_EQ(get<Convolution>(import({{"location", "link"}, {"offset", "4"}, {"length", "8"}}), 1).weights, expected);
  // without a length: to the end
  EXPECT_EQ(get<Convolution>(import({{"location", "weights.data"}, {"offset", "8"}}), 1).weights, (Floats{5, -1}));
}

TEST_F(OnnxExternalData, IsReadForConstantsOfNodes) {
  ModelBuilder m({1, 2, 1, 1});
  onnx::TensorProto& value =
      *m.node("Constant", {}, {"w"}).attribute("value", onnx::AttributeProto::TENSOR)->mutable_t();
  for (const int extent : {1, 2, 1, 1}) value.add_dims(extent);
  value.set_data_type(onnx::TensorProto::FLOAT);
  refer(value, {{"location", "weights.data"}, {"offset", "4"}, {"length", "8"}});
  m.node("Conv", {"x", "w"}, {"y"});
  EXPECT_EQ(get<Convolution>(import_model(m), 1).weights, (Floats{3, 5}));
}

// What one rank reads is all that the others need.
TEST_F(OnnxExternalData, TravelsWithTheModel) {
  const Entries entries = {{"location", "weights.data"}, {"offset", "4"}, {"length", "8"}};
  import(entries);
  const std::string path = (folder_ / "model.onnx").string();
  std::vector<std::byte> bytes = read_onnx(path);
  fs::remove_all(outside_);
  EXPECT_EQ(get<Convolution>(import_onnx(std::move(bytes), path), 1).weights, (Floats{3, 5}));
}

TEST_F(OnnxExternalData, StaysInTheFolderOfTheModel) {
  const std::string secret = (outside_ / "secret").string();
  ASSERT_EQ(error({{"location", "weights.data"}, {"offset", "4"}, {"length", "8"}}), "");
  for (const std::string& location : {secret, std::string("../secret"), std::string("sub/../../secret"),
                                      std::string(".."), std::string(), std::string("weights.data\0x", 14)}) {
    expect_in(error({{"location", location}, {"offset", "4"}, {"length", "8"}}), {"'w_y'", "inside the folder"});
  }
  fs::create_symlink(secret, folder_ / "link");
  expect_in(error({{"location", "link"}, {"offset", "4"}, {"length", "8"}}), {"'w_y'", "'link'", "leads out"});
  fs::create_directory_symlink(outside_, folder_ / "folder");
  expect_in(error({{"location", "folder/secret"}, {"offset", "4"}, {"length", "8"}}), {"'w_y'", "leads out"});
}

TEST_F(OnnxExternalData, SaysWhatIsMissingOrDamaged) {
  const auto at = [&](const std::string& offset, const std::string& length) {
    return error({{"location", "weights.data"}, {"offset", offset}, {"length", length}});
  };
  expect_in(error({{"location", "gone.data"}}), {"'w_y'", "'gone.data'", "no such file"});
  expect_in(error({{"location", "sub"}}), {"'w_y'", "'sub'", "no such file"});
  ASSERT_EQ(mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  expect_in(error({{"location", "fifo"}}), {"'w_y'", "no such file"});  // reading it would wait forever
  expect_in(error({{"location", "\x1b[31m"}}), {"'\\x1b[31m'"});
  expect_in(error({{"offset", "4"}}), {"'w_y'", "does not name"});
  expect_in(at("4", "16"), {"'w_y'", "bytes 4 to 20", "has 16 bytes"});
  expect_in(at("17", "0"), {"'w_y'", "bytes 17 to 17", "has 16 bytes"});
  expect_in(at("8", "9223372036854775807"), {"'w_y'", "has 16 bytes"});
  for (const char* number : {"-4", "4 ", "", "0x4", "1e3", "9223372036854775808", "99999999999999999999"}) {
    expect_in(at(number, "8"), {"'w_y'", "offset", number});
    expect_in(at("4", number), {"'w_y'", "length", number});
  }
  expect_in(at("4", "12"), {"'w_y'", "12 bytes", "needs 8"});
  const Entries entries = {{"location", "weights.data"}, {"offset", "4"}, {"length", "8"}};
  for (const auto& [type, part] : {std::pair(22, "element type is number 22"),
                                   {int(onnx::TensorProto::INT16), "needs 4"},
                                   {int(onnx::TensorProto::DOUBLE), "needs 16"}}) {
    ModelBuilder m({1, 2, 1, 1});
    m.conv("x", "y", 2, 1);
    refer(*m.model.mutable_graph()->mutable_initializer(0), entries);
    m.model.mutable_graph()->mutable_initializer(0)->set_data_type(type);
    try {
      import_model(m);
      ADD_FAILURE() << type;
    } catch (const Error& error) {
      expect_in(error.what(), {"'w_y'", part});
    }
  }
}

TEST_F(OnnxExternalData, IsNotLargerThanAModelMayBe) {
  fs::resize_file(folder_ / "weights.data", std::uintmax_t(3) << 30);  // a hole, which takes no space
  expect_in(error({{"location", "weights.data"}}), {"'w_y'", "3221225472 bytes", "needs 8"});
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "y", 2, 1);
  refer(*m.model.mutable_graph()->mutable_initializer(0), {{"location", "weights.data"}});
  m.model.mutable_graph()->mutable_initializer(0)->set_dims(0, 3 << 27);
  try {
    import_model(m);
    FAIL();
  } catch (const Error& error) {
    expect_in(error.what(), {"model.onnx", "2 GiB"});
  }
}

}  // namespace
}  // namespace bitcluster
