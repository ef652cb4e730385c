#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "tests/onnx_models.hpp"
#include "tests/shared_data.hpp"

namespace bitcluster {
namespace {

// ---- what is dropped

TEST(OnnxImport, DropsSoftmaxDropoutIdentityAndDeadNodes) {
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "c", 2, 3);
  m.node("NonMaxSuppression", {"c"}, {"dead"});
  m.conv("x", "unused", 2, 2);
  m.node("Dropout", {"c"}, {"d", "mask"});
  m.node("Identity", {"d"}, {"i"});
  m.node("Flatten", {"i"}, {"f"});
  m.node("Softmax", {"f"}, {"y"}).integer("axis", 1);
  const Network network = m.import();
  EXPECT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(network.classes(), 3);
}

TEST(OnnxImport, GivesUniqueNames) {
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "a", 2, 2).node->set_name("same");
  m.conv("a", "b", 2, 2).node->set_name("same");
  m.conv("b", "y", 2, 2).node->clear_name();
  const Network network = m.import();
  EXPECT_EQ(network.layers[1].name, "same");
  EXPECT_EQ(network.layers[2].name, "same_2");
  EXPECT_EQ(network.layers[3].name, "y");
}

// ---- errors

TEST(OnnxImport, NamesNodeAndOperatorThatItDoesNotKnow) {
  ModelBuilder m;
  m.node("Einsum", {"x"}, {"y"});
  expect_in(m.error(), {"Einsum_y", "(Einsum)", "not supported", "AveragePool", "Conv", "Slice"});
  ModelBuilder foreign;
  foreign.node("Conv", {"x"}, {"y"}).node->set_domain("com.example");
  expect_in(foreign.error(), {"Conv_y", "com.example"});
  ModelBuilder middle({1, 2, 1, 1});
  middle.node("Softmax", {"x"}, {"s"}).integer("axis", 1);
  middle.conv("s", "y", 2, 2);
  expect_in(middle.error(), {"Conv_y", "Softmax", "end"});
}

TEST(OnnxImport, RefusesOtherInputsAndOutputs) {
  for (const auto& [dims, part] : std::vector<std::pair<Ints, const char*>>{
           {{1, 3, -1, 4}, "open"}, {{1, 3, 4, 4, 4}, "rank 5"}, {{1, 0, 4, 4}, "is 0"}, {{}, "rank 0"}}) {
    ModelBuilder m(dims);
    m.node("Relu", {"x"}, {"y"});
    expect_in(m.error(), {"'x'", part});
  }
  ModelBuilder two;
  two.add_input("z", {1, 2, 4, 4});
  two.node("Add", {"x", "z"}, {"y"});
  expect_in(two.error(), {"several inputs", "'z'"});
  ModelBuilder outputs;
  outputs.node("Relu", {"x"}, {"y"});
  outputs.model.mutable_graph()->add_output()->set_name("x");
  expect_in(outputs.error(), {"2 outputs ('y', 'x')", "extract_model"});
  ModelBuilder undefined;
  undefined.node("Relu", {"nowhere"}, {"y"});
  expect_in(undefined.error(), {"Relu_y", "'nowhere'", "nothing in the model has that name"});
  ModelBuilder constant;
  constant.weights("c", {1}, {1});
  constant.node("Floor", {"c"}, {"y"});
  expect_in(constant.error(), {"'y'", "does not depend"});
  ModelBuilder old({1, 2, 4, 4}, 6);
  old.node("Relu", {"x"}, {"y"});
  expect_in(old.error(), {"version 6"});
}

TEST(OnnxImport, SaysWhichOutputIsNotSupported) {
  ModelBuilder mask({1, 2, 1, 1});
  mask.node("Dropout", {"x"}, {"d", "mask"});
  mask.node("Mul", {"d", "mask"}, {"y"});
  expect_in(mask.error(), {"Mul_y", "'mask'", "output 1", "Dropout_d", "(Dropout)", "only output 0"});
  ModelBuilder indices({1, 2, 4, 4});
  indices.node("MaxPool", {"x"}, {"m", "y"}).integers("kernel_shape", {2, 2});
  expect_in(indices.error(), {"'y'", "output 1", "MaxPool_m", "only output 0"});
}

TEST(OnnxImport, SaysThatNodesAreNotInOrder) {
  ModelBuilder cycle;
  cycle.node("Add", {"b", "x"}, {"a"});
  cycle.node("Relu", {"a"}, {"b"});
  cycle.node("Add", {"b", "x"}, {"y"});
  expect_in(cycle.error(), {"Add_a", "'b'", "Relu_b", "does not come before", "cycle"});
  ModelBuilder twice({1, 2, 1, 1});
  twice.node("Relu", {"x"}, {"a"});
  twice.node("Sigmoid", {"a"}, {"y"});
  twice.node("Sigmoid", {"x"}, {"a"});
  expect_in(twice.error(), {"'a'", "defined twice"});
}

// As tf2onnx makes of Keras networks for grey images
TEST(OnnxImport, TakesImagesWithoutAChannelAxis) {
  ModelBuilder flat({-1, 2, 3});
  flat.list("rest", {-1, 6});
  flat.node("Reshape", {"x", "rest"}, {"f"});
  flat.weights("w", {6, 1}, {1, 2, 3, 4, 5, 6});
  flat.node("MatMul", {"f", "w"}, {"y"});
  EXPECT_EQ(flat.import().input(), (Shape{1, 2, 3}));
  EXPECT_EQ(run(flat.import()), (Floats{0 + 2 + 6 + 12 + 20 + 30}));
  ModelBuilder last({-1, 2, 3});
  last.list("last", {3});
  last.node("Unsqueeze", {"x", "last"}, {"u"});
  last.node("Transpose", {"u"}, {"t"}).integers("perm", {0, 3, 1, 2});
  last.conv("t", "y", 1, 2);
  const Network network = last.import();
  EXPECT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(network.layers[1].output, (Shape{2, 2, 3}));
  ModelBuilder sequence({-1, 2, 3});
  sequence.weights("w", {2, 2, 1}, {1, 2, 3, 4});
  sequence.node("Conv", {"x", "w"}, {"y"});
  expect_in(sequence.error(), {"Conv_y", "rank 3"});
}

TEST(OnnxImport, AcceptsInitializersThatAreListedAsInputs) {
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "y", 2, 2);
  m.add_input("w_y", {2, 2, 1, 1});
  EXPECT_EQ(m.import().layers.size(), 2u);
}

TEST(OnnxImport, RefusesWeightsThatAreMissing) {
  const auto error = [](const std::function<void(onnx::TensorProto&)>& damage) {
    ModelBuilder m({1, 2, 1, 1});
    m.conv("x", "y", 2, 2);
    damage(*m.model.mutable_graph()->mutable_initializer(0));
    return m.error();
  };
  expect_in(error([](auto& w) { w.set_data_location(onnx::TensorProto::EXTERNAL); }), {"'w_y'", "external data"});
  expect_in(error([](auto& w) { w.clear_float_data(); }), {"'w_y'", "0 values", "4"});
  expect_in(error([](auto& w) { w.set_raw_data("abc"); }), {"'w_y'", "3 bytes", "16"});
  expect_in(error([](auto& w) { w.set_dims(0, -2); }), {"'w_y'", "negative"});
  expect_in(error([](auto& w) { w.set_dims(0, std::int64_t(1) << 62); }), {"'w_y'", "too large"});
  expect_in(error([](auto& w) { w.set_data_type(onnx::TensorProto::STRING); }), {"'w_y'", "type"});
  expect_in(error([](auto& w) { w.set_float_data(0, NAN); }), {"Conv_y", "not finite"});
  expect_in(error([](auto& w) { w.set_dims(0, 1), w.set_dims(1, 4); }), {"Conv_y", "2 channels"});
}

TEST(OnnxImport, RefusesBadAttributes) {
  const auto error = [](const std::string& name, const Ints& values) {
    ModelBuilder m({1, 2, 3, 3});
    m.conv("x", "y", 2, 2).integers(name, values);
    return m.error();
  };
  expect_in(error("strides", {0, 1}), {"Conv_y", "stride 0"});
  expect_in(error("strides", {-1, 1}), {"Conv_y", "stride -1"});
  expect_in(error("pads", {-1, 0, 0, 0}), {"Conv_y", "pad -1"});
  expect_in(error("pads", {0, 0, 0, std::int64_t(1) << 40}), {"Conv_y", "out of range"});
  expect_in(error("dilations", {1}), {"Conv_y", "two-dimensional"});
  expect_in(error("kernel_shape", {3, 3}), {"Conv_y", "kernel_shape"});
  expect_in(error("group", {2}), {"Conv_y", "'group'", "wrong type"});
  ModelBuilder large({1, 1, 3, 3});
  large.weights("w", {1, 1, 5, 5}, Floats(25, 1));
  large.node("Conv", {"x", "w"}, {"y"});
  expect_in(large.error(), {"Conv_y", "larger than its padded input"});
}

TEST(OnnxImport, RefusesFilesThatAreNotModels) {
  const auto error = [](const std::string& bytes) {
    try {
      ModelBuilder::import_bytes(bytes);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  testing::internal::CaptureStderr();
  expect_in(error(""), {"not a complete ONNX model"});
  expect_in(error("this is not a model"), {"not a complete ONNX model"});
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "y", 2, 2);
  const std::string bytes = m.model.SerializeAsString();
  expect_in(error(bytes.substr(0, bytes.size() - 5)), {"not a complete ONNX model"});
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_THROW(import_onnx("/nonexistent.onnx"), Error);
  EXPECT_THROW(import_onnx(testing::TempDir()), Error);
}

TEST(OnnxImport, NeverCrashesOnDamagedFiles) {
  ModelBuilder m({1, 4, 6, 6});
  m.weights("w", {4, 2, 3, 3}, Floats(72, 1));
  m.list("pads", {0, 0, 1, 1, 0, 0, 1, 1});
  m.list("starts", {0}), m.list("ends", {6}), m.list("axes", {2}), m.list("steps", {2});
  m.list("five", {1, 2, 2, 3, 6}), m.list("four", {1, 4, 3, 6}), m.list("big", {1, 4, 3, 6});
  for (const char* name : {"gamma", "beta", "mean", "variance"}) m.weights(name, {4}, {1, 2, 3, 4});
  m.node("Pad", {"x", "pads"}, {"p"});
  m.node("Conv", {"p", "w"}, {"c"}).integer("group", 2).integers("strides", {1, 1}).integers("pads", {0, 0, 0, 0});
  m.node("BatchNormalization", {"c", "gamma", "beta", "mean", "variance"}, {"n"}).number("epsilon", 1e-5f);
  m.node("Clip", {"n"}, {"l"});
  m.node("Slice", {"l", "starts", "ends", "axes", "steps"}, {"s"});
  m.node("Reshape", {"s", "five"}, {"r"});
  m.node("Transpose", {"r"}, {"t"}).integers("perm", {0, 2, 1, 3, 4});
  m.node("Reshape", {"t", "four"}, {"u"});
  m.node("ConstantOfShape", {"four"}, {"zeros"});
  m.node("Concat", {"zeros", "zeros"}, {"more"}).integer("axis", 1);
  m.node("Gather", {"more", "axes"}, {"some"}).integer("axis", 1);
  m.node("Add", {"u", "some"}, {"moved"});
  m.node("Expand", {"moved", "big"}, {"e"});
  m.node("MaxPool", {"e"}, {"m"}).integers("kernel_shape", {2, 2}).integers("strides", {2, 2}).integer("ceil_mode", 1);
  m.node("LRN", {"m"}, {"lrn"}).integer("size", 3);
  m.node("Concat", {"lrn", "m"}, {"k"}).integer("axis", 1);
  m.node("ReduceMean", {"k"}, {"a"}).integers("axes", {2, 3}).integer("keepdims", 0);
  m.weights("v", {8, 3}, Floats(24, 1));
  m.node("Gemm", {"a", "v"}, {"g"}).number("alpha", 1);
  m.node("Softmax", {"g"}, {"y"}).integer("axis", 1);
  const std::string bytes = m.model.SerializeAsString();
  ASSERT_EQ(m.error(), "");

  std::mt19937 random(1);
  int imported = 0, refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string damaged = bytes;
    const int changes = 1 + int(random() % 3);
    for (int i = 0; i < changes; ++i) damaged[random() % damaged.size()] = char(random());
    if (round % 10 == 0) damaged.resize(random() % damaged.size());
    try {
      const Network network = ModelBuilder::import_bytes(damaged);
      ++imported;
      ASSERT_GE(network.layers.size(), 1u);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(imported, 50);
  EXPECT_GT(refused, 100);
}

// ---- trained networks

TEST(OnnxImport, ImportsTrainedNetworks) {
  const auto folder = shared_folder();
  if (folder.empty()) GTEST_SKIP() << "no folder with trained networks (set BITCLUSTER_SHARED)";
  const auto products = [&](const char* file, int classes) {
    const Network network = import_onnx((folder / "models" / file).string());
    EXPECT_EQ(network.classes(), classes);
    std::int64_t sum = 0;
    for (int i = 0; i < int(network.layers.size()); ++i) sum += multiply_accumulates(network, i);
    return double(sum);
  };
  // He et al., CVPR 2016; Howard et al., arXiv:1704.04861, table 6
  EXPECT_NEAR(products("cifar10/resnet20.onnx", 10), 41e6, 1e6);
  EXPECT_NEAR(products("cifar10/resnet56.onnx", 10), 126e6, 1e6);
  EXPECT_NEAR(products("imagenet/mobilenet_v1_0.75_224.onnx", 1000), 325e6, 1e6);
  EXPECT_GT(products("imagenet/squeezenet1_1_227.onnx", 1000), 0);
}

TEST(OnnxImport, ClassifiesWithATrainedNetwork) {
  const auto folder = shared_folder();
  if (folder.empty()) GTEST_SKIP() << "no folder with trained networks (set BITCLUSTER_SHARED)";
  const Network network = import_onnx((folder / "models/cifar10/resnet20.onnx").string());
  std::ifstream file(folder / "data/cifar10/test_batch.bin", std::ios::binary);
  constexpr int count = 100, pixels = 32 * 32;
  const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
  std::vector<float> images(std::size_t(count) * 3 * pixels);
  std::vector<int> labels;
  for (int i = 0; i < count; ++i) {
    labels.push_back(file.get());
    for (int c = 0; c < 3; ++c) {
      for (int p = 0; p < pixels; ++p) {
        images[(std::size_t(i) * pixels + p) * 3 + c] = (float(file.get()) / 255 - mean[c]) / deviation[c];
      }
    }
  }
  ASSERT_TRUE(file.good());
  const Floats logits = run_float(network, images, count);
  int correct = 0;
  for (int i = 0; i < count; ++i) {
    correct += std::max_element(logits.begin() + i * 10, logits.begin() + i * 10 + 10) - logits.begin() - i * 10 ==
               labels[std::size_t(i)];
  }
  EXPECT_GT(correct, 85);  // 91.73 % on all 10,000
}

}  // namespace
}  // namespace bitcluster
