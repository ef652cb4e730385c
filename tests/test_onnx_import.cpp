// libonnx needs to know how it was built
#define ONNX_NAMESPACE onnx
#define ONNX_ML 1
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <numeric>
#include <random>

#include "host/base/error.hpp"
#include "host/cpu/float_network.hpp"
#include "host/onnx/import.hpp"
#include "tests/shared_data.hpp"

namespace bitcluster {
namespace {

using Ints = std::vector<std::int64_t>;
using Floats = std::vector<float>;

/// One node under construction.
struct NodeBuilder {
  onnx::NodeProto* node;

  onnx::AttributeProto* attribute(const std::string& name, onnx::AttributeProto::AttributeType type) {
    auto* added = node->add_attribute();
    added->set_name(name);
    added->set_type(type);
    return added;
  }
  NodeBuilder& integer(const std::string& name, std::int64_t value) {
    attribute(name, onnx::AttributeProto::INT)->set_i(value);
    return *this;
  }
  NodeBuilder& integers(const std::string& name, const Ints& values) {
    auto* added = attribute(name, onnx::AttributeProto::INTS);
    for (const std::int64_t value : values) added->add_ints(value);
    return *this;
  }
  NodeBuilder& number(const std::string& name, float value) {
    attribute(name, onnx::AttributeProto::FLOAT)->set_f(value);
    return *this;
  }
  NodeBuilder& text(const std::string& name, const std::string& value) {
    attribute(name, onnx::AttributeProto::STRING)->set_s(value);
    return *this;
  }
};

/// A model with input "x" and output "y".
struct ModelBuilder {
  onnx::ModelProto model;

  explicit ModelBuilder(const Ints& input = {1, 2, 4, 4}, int opset = 13) {
    model.set_ir_version(7);
    model.add_opset_import()->set_version(opset);
    add_input("x", input);
    model.mutable_graph()->add_output()->set_name("y");
  }

  void add_input(const std::string& name, const Ints& dims) {
    auto* input = model.mutable_graph()->add_input();
    input->set_name(name);
    auto* type = input->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const std::int64_t extent : dims) {
      auto* dim = type->mutable_shape()->add_dim();
      extent < 0 ? dim->set_dim_param("open") : dim->set_dim_value(extent);
    }
  }

  /// The node is named after its operator and first output.
  NodeBuilder node(const std::string& op, const std::vector<std::string>& inputs,
                   const std::vector<std::string>& outputs) {
    auto* added = model.mutable_graph()->add_node();
    added->set_op_type(op);
    added->set_name(op + "_" + outputs[0]);
    for (const auto& name : inputs) added->add_input(name);
    for (const auto& name : outputs) added->add_output(name);
    return {added};
  }

  onnx::TensorProto* tensor(const std::string& name, const Ints& dims, int type) {
    auto* added = model.mutable_graph()->add_initializer();
    added->set_name(name);
    added->set_data_type(type);
    for (const std::int64_t extent : dims) added->add_dims(extent);
    return added;
  }
  void weights(const std::string& name, const Ints& dims, const Floats& values) {
    auto* added = tensor(name, dims, onnx::TensorProto::FLOAT);
    for (const float value : values) added->add_float_data(value);
  }
  void list(const std::string& name, const Ints& values) {
    auto* added = tensor(name, {std::int64_t(values.size())}, onnx::TensorProto::INT64);
    for (const std::int64_t value : values) added->add_int64_data(value);
  }

  /// A 1x1 convolution to `filters` channels whose weights count 1, 2, 3, ... and whose biases are 0.
  NodeBuilder conv(const std::string& input, const std::string& output, int channels, int filters) {
    Floats values(std::size_t(channels) * filters);
    std::iota(values.begin(), values.end(), 1.0f);
    weights("w_" + output, {filters, channels, 1, 1}, values);
    return node("Conv", {input, "w_" + output}, {output});
  }

  Network import() const { return import_bytes(model.SerializeAsString()); }

  static Network import_bytes(const std::string& bytes) {
    const std::string path = testing::TempDir() + "/test_onnx_import_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name() + ".onnx";
    std::ofstream(path, std::ios::binary) << bytes;
    return import_onnx(path);
  }

  std::string error() const {
    try {
      import();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

/// Result for one image whose elements in (c, h, w) order are 0, 1, 2, ...; in (c, h, w) order as well.
Floats run(const Network& network) {
  const Shape& shape = network.input();
  Floats image(shape.size());
  for (std::size_t i = 0; i < image.size(); ++i) {
    const std::size_t plane = std::size_t(shape.height) * shape.width;
    image[i % plane * shape.channels + i / plane] = float(i);
  }
  return run_float(network, image, 1);
}

template <class Kind>
const Kind& get(const Network& network, int layer) {
  return std::get<Kind>(network.layers.at(layer).operation);
}

std::vector<std::size_t> kinds(const Network& network) {
  std::vector<std::size_t> indices;
  for (const Layer& layer : network.layers) indices.push_back(layer.operation.index());
  return indices;
}
// positions in Operation
constexpr std::size_t input_ = 0, conv_ = 1, pool_ = 2, add_ = 3, multiply_ = 4, concat_ = 5, rearrange_ = 6,
                      function_ = 7;
using Kinds = std::vector<std::size_t>;

void expect_in(const std::string& message, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
}

constexpr float infinity = std::numeric_limits<float>::infinity();

// ---- convolution

TEST(OnnxImport, ReadsConvolutionAttributes) {
  ModelBuilder m({-1, 4, 9, 8});
  m.weights("w", {6, 2, 3, 2}, Floats(72, 1));
  m.weights("b", {6}, {1, 2, 3, 4, 5, 6});
  m.node("Conv", {"x", "w", "b"}, {"y"})
      .integer("group", 2)
      .integers("dilations", {2, 1})
      .integers("strides", {1, 2})
      .integers("pads", {0, 1, 2, 3})
      .integers("kernel_shape", {3, 2});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  const auto& convolution = get<Convolution>(network, 1);
  EXPECT_EQ(convolution.window, (Window{3, 2, 1, 2, 2, 1, 0, 1, 2, 3}));
  EXPECT_EQ(convolution.groups, 2);
  EXPECT_FALSE(convolution.fully_connected);
  EXPECT_EQ(convolution.bias, (Floats{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(network.layers[1].output, (Shape{6, 7, 6}));  // (9+2-5)/1+1, (8+4-2)/2+1
  EXPECT_EQ(network.layers[1].name, "Conv_y");
  EXPECT_EQ(network.input(), (Shape{4, 9, 8}));
}

TEST(OnnxImport, ResolvesAutomaticPadding) {
  const auto window = [](const char* mode) {
    ModelBuilder m({1, 1, 6, 5});
    m.weights("w", {1, 1, 3, 3}, Floats(9, 1));
    m.node("Conv", {"x", "w"}, {"y"}).text("auto_pad", mode).integers("strides", {2, 2});
    return get<Convolution>(m.import(), 1).window;
  };
  // height 6: 3 positions need 7, so 1 more; width 5: 3 positions need 7, so 2 more
  EXPECT_EQ(window("SAME_UPPER"), (Window{3, 3, 2, 2, 1, 1, 0, 1, 1, 1}));
  EXPECT_EQ(window("SAME_LOWER"), (Window{3, 3, 2, 2, 1, 1, 1, 1, 0, 1}));
  EXPECT_EQ(window("VALID"), (Window{3, 3, 2, 2, 1, 1, 0, 0, 0, 0}));
}

TEST(OnnxImport, FoldsBatchNormalizationAndRelu) {
  ModelBuilder m({1, 1, 1, 1});
  m.weights("w", {2, 1, 1, 1}, {5, 7});
  m.weights("b", {2}, {1, 2});
  m.weights("gamma", {2}, {6, 1});
  m.weights("beta", {2}, {10, 20});
  m.weights("mean", {2}, {3, 4});
  m.weights("variance", {2}, {4, 16});
  m.node("Conv", {"x", "w", "b"}, {"c"});
  m.node("BatchNormalization", {"c", "gamma", "beta", "mean", "variance"}, {"n"}).number("epsilon", 0);
  m.node("Relu", {"n"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  // scales 6/2 = 3 and 1/4; bias 10 + (1 - 3) * 3 and 20 + (2 - 4) / 4
  EXPECT_EQ(get<Convolution>(network, 1).weights, (Floats{15, 1.75f}));
  EXPECT_EQ(get<Convolution>(network, 1).bias, (Floats{4, 19.5f}));
  EXPECT_EQ(network.layers[1].low, 0);
  EXPECT_EQ(network.layers[1].high, infinity);
  EXPECT_EQ(network.layers[1].name, "Conv_c");
}

TEST(OnnxImport, KeepsBatchNormalizationThatCannotBeFolded) {
  ModelBuilder m({1, 2, 1, 1});
  for (const char* name : {"gamma", "mean", "variance"}) m.weights(name, {2}, {1, 1});
  m.weights("beta", {2}, {5, 6});
  m.conv("x", "c", 2, 2);
  m.node("BatchNormalization", {"c", "gamma", "beta", "mean", "variance"}, {"n"}).number("epsilon", 0);
  m.node("Add", {"c", "n"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_, conv_, add_}));
  const auto& kept = get<Convolution>(network, 2);
  EXPECT_EQ(kept.groups, 2);
  EXPECT_EQ(kept.weights, (Floats{1, 1}));
  EXPECT_EQ(kept.bias, (Floats{4, 5}));
  EXPECT_EQ(run(network), (Floats{2 + 6, 4 + 9}));  // x = 0, 1; c = 2, 4; n = 2 - 1 + 5, 4 - 1 + 6
}

TEST(OnnxImport, KeepsAClampWhoseInputIsReadElsewhere) {
  ModelBuilder m({1, 2, 1, 1});
  m.weights("minus", {1, 2, 1, 1}, {-1, -1});
  m.node("Mul", {"x", "minus"}, {"c"});
  m.node("Relu", {"c"}, {"r"});
  m.node("Add", {"c", "r"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_, function_, add_}));
  EXPECT_EQ(network.layers[1].low, -infinity);
  EXPECT_EQ(network.layers[2].low, 0);
  EXPECT_EQ(run(network), (Floats{0, -1}));
}

TEST(OnnxImport, ReadsClipFromAttributesAndInputs) {
  for (const bool attributes : {true, false}) {
    ModelBuilder m({1, 2, 1, 1}, attributes ? 9 : 13);
    m.conv("x", "c", 2, 2);
    m.node("Relu", {"c"}, {"r"});
    m.weights("high", {}, {6});
    if (attributes) {
      m.node("Clip", {"r"}, {"y"}).number("max", 6).number("min", -1);
    } else {
      m.node("Clip", {"r", "", "high"}, {"y"});
    }
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
    EXPECT_EQ(network.layers[1].low, 0);
    EXPECT_EQ(network.layers[1].high, 6);
  }
}

// ---- fully connected

TEST(OnnxImport, MakesConvolutionsOfGemms) {
  for (const bool transposed : {true, false}) {
    ModelBuilder m({-1, 2, 1, 2});
    m.node("Flatten", {"x"}, {"f"});
    if (transposed) {
      m.weights("w", {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
    } else {
      m.weights("w", {4, 2}, {1, 5, 2, 6, 3, 7, 4, 8});
    }
    m.weights("b", {1, 2}, {10, 20});
    m.node("Gemm", {"f", "w", "b"}, {"g"}).integer("transB", transposed).number("alpha", 2).number("beta", 0.5f);
    m.node("Relu", {"g"}, {"r"});
    m.weights("v", {3, 2}, {1, 1, 2, 2, 3, 3});
    m.node("Gemm", {"r", "v"}, {"y"}).integer("transB", 1);
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, conv_, conv_}));
    const auto& first = get<Convolution>(network, 1);
    EXPECT_TRUE(first.fully_connected);
    EXPECT_EQ(first.window.kernel_h, 1);
    EXPECT_EQ(first.window.kernel_w, 2);
    EXPECT_EQ(first.weights, (Floats{2, 4, 6, 8, 10, 12, 14, 16}));
    EXPECT_EQ(first.bias, (Floats{5, 10}));
    EXPECT_EQ(network.layers[1].low, 0);
    EXPECT_EQ(network.layers[1].output, (Shape{2, 1, 1}));
    EXPECT_EQ(network.classes(), 3);
    // g = 2 * (0+2+6+12) + 5 = 45, 2 * (0+6+14+24) + 10 = 98
    EXPECT_EQ(run(network), (Floats{143, 286, 429}));
  }
}

TEST(OnnxImport, FoldsTheBiasBehindMatMul) {
  ModelBuilder m({1, 3});
  m.weights("w", {3, 2}, {1, 2, 3, 4, 5, 6});
  m.weights("b", {2}, {10, 20});
  m.node("MatMul", {"x", "w"}, {"p"});
  m.node("Add", {"b", "p"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(network.input(), (Shape{3, 1, 1}));
  EXPECT_EQ(run(network), (Floats{0 + 3 + 10 + 10, 0 + 4 + 12 + 20}));
}

// ---- arithmetic

TEST(OnnxImport, FoldsConstantArithmetic) {
  ModelBuilder m({1, 2, 1, 1});
  m.conv("x", "c", 2, 2);  // 2, 4
  m.weights("four", {}, {4});
  m.weights("pair", {1, 2, 1, 1}, {1, 2});
  m.weights("halves", {2, 1, 1}, {0.5f, 0.25f});
  m.node("Sub", {"four", "c"}, {"s"});    // 2, 0
  m.node("Add", {"s", "pair"}, {"a"});    // 3, 2
  m.node("Mul", {"a", "four"}, {"p"});    // 12, 8
  m.node("Div", {"p", "halves"}, {"d"});  // 24, 32
  m.node("Sub", {"d", "pair"}, {"y"});    // 23, 30
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(run(network), (Floats{23, 30}));
}

TEST(OnnxImport, RefusesConstantsThatVaryInsideAChannel) {
  ModelBuilder m({1, 1, 1, 2});
  m.weights("c", {1, 1, 1, 2}, {1, 2});
  m.node("Add", {"x", "c"}, {"y"});
  expect_in(m.error(), {"Add_y", "(Add)", "differs inside a channel"});
  ModelBuilder same({1, 1, 1, 2});
  same.weights("c", {1, 1, 1, 2}, {3, 3});
  same.node("Add", {"x", "c"}, {"y"});
  EXPECT_EQ(run(same.import()), (Floats{3, 4}));
}

TEST(OnnxImport, MultipliesBySqueezeExciteFactors) {
  for (const bool swapped : {false, true}) {
    ModelBuilder m({1, 2, 1, 2});
    m.node("GlobalAveragePool", {"x"}, {"g"});
    m.node("Mul", swapped ? std::vector<std::string>{"g", "x"} : std::vector<std::string>{"x", "g"}, {"y"});
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, pool_, multiply_}));
    EXPECT_EQ(network.layers[2].inputs, (std::vector<int>{0, 1}));
    EXPECT_EQ(run(network), (Floats{0, 0.5f, 5, 7.5f}));
  }
}

TEST(OnnxImport, BroadcastsASumByRearranging) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("GlobalMaxPool", {"x"}, {"g"});
  m.node("Add", {"x", "g"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{1, 2, 5, 6}));
}

TEST(OnnxImport, RecognisesHardSwish) {
  ModelBuilder m({1, 8, 1, 1});
  m.weights("four", {}, {4});
  m.node("Sub", {"x", "four"}, {"s"});
  m.node("HardSigmoid", {"s"}, {"h"}).number("alpha", 1 / 6.0f);
  m.node("Mul", {"s", "h"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_, function_}));
  EXPECT_EQ(get<Function>(network, 2).kind, Function::Kind::hard_swish);
  const Floats result = run(network);
  EXPECT_EQ(result[0], 0);                  // -4
  EXPECT_NEAR(result[2], -2 / 6.0f, 1e-6);  // -2 * 1/6
  EXPECT_EQ(result[7], 3);                  // 3 * 1
}

TEST(OnnxImport, ReadsFunctions) {
  ModelBuilder m({1, 1, 1, 1});
  m.node("LeakyRelu", {"x"}, {"a"}).number("alpha", 0.5f);
  m.node("Sigmoid", {"a"}, {"b"});
  m.node("HardSigmoid", {"b"}, {"c"});
  m.node("LRN", {"c"}, {"y"}).integer("size", 3).number("bias", 2).number("alpha", 0.5f).number("beta", 1);
  const Network network = m.import();
  EXPECT_EQ(get<Function>(network, 1).alpha, 0.5f);
  EXPECT_EQ(get<Function>(network, 2).kind, Function::Kind::sigmoid);
  EXPECT_EQ(get<Function>(network, 3).alpha, 0.2f);
  EXPECT_EQ(get<Function>(network, 3).beta, 0.5f);
  EXPECT_EQ(get<LocalResponseNorm>(network, 4).size, 3);
  EXPECT_EQ(get<LocalResponseNorm>(network, 4).bias, 2);
}

// ---- pooling

TEST(OnnxImport, ReadsPools) {
  ModelBuilder m({1, 1, 4, 4});
  m.node("MaxPool", {"x"}, {"p"}).integers("kernel_shape", {3, 3}).integers("strides", {2, 2}).integer("ceil_mode", 1);
  m.node("AveragePool", {"p"}, {"y"})
      .integers("kernel_shape", {2, 2})
      .integers("pads", {1, 1, 0, 0})
      .integer("count_include_pad", 1);
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, pool_, pool_}));
  EXPECT_EQ(network.layers[1].output, (Shape{1, 2, 2}));
  EXPECT_TRUE(get<Pool>(network, 2).count_padding);
  // maxima 10 11 14 15; averages over 4 with the padding
  EXPECT_EQ(run(network), (Floats{2.5f, 5.25f, 6, 12.5f}));
}

TEST(OnnxImport, DropsPoolsThatDoNothing) {
  ModelBuilder m({1, 1, 2, 2});
  m.conv("x", "c", 1, 1);
  m.node("AveragePool", {"c"}, {"p"}).integers("kernel_shape", {1, 1}).integers("strides", {1, 1});
  m.node("Relu", {"p"}, {"y"});
  EXPECT_EQ(kinds(m.import()), (Kinds{input_, conv_}));
}

TEST(OnnxImport, MakesAPoolOfReduceMean) {
  for (const bool keep : {false, true}) {
    ModelBuilder m({1, 2, 1, 2});
    m.node("ReduceMean", {"x"}, {"r"}).integers("axes", {-1, 2}).integer("keepdims", keep);
    if (keep) m.node("Flatten", {"r"}, {"f"});
    m.weights("w", {1, 2}, {1, 10});
    m.node("Gemm", {keep ? "f" : "r", "w"}, {"y"}).integer("transB", 1);
    EXPECT_EQ(run(m.import()), (Floats{0.5f + 25}));
  }
  ModelBuilder m;
  m.node("ReduceMean", {"x"}, {"y"}).integers("axes", {1});
  expect_in(m.error(), {"ReduceMean_y", "height and width"});
}

// ---- movements

TEST(OnnxImport, ConcatenatesAlongAnyAxis) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("Relu", {"x"}, {"r"});
  m.node("Concat", {"x", "r", "x"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(m.import()), (Floats{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}));
  ModelBuilder w({1, 2, 1, 2});
  w.node("Relu", {"x"}, {"r"});
  w.node("Concat", {"x", "r"}, {"y"}).integer("axis", -1);
  const Network network = w.import();
  EXPECT_EQ(network.layers.back().output, (Shape{2, 1, 4}));
  EXPECT_EQ(run(network), (Floats{0, 1, 0, 1, 2, 3, 2, 3}));
}

TEST(OnnxImport, FoldsSpatialPaddingIntoConvolutions) {
  const auto build = [](bool shared) {
    ModelBuilder m({1, 1, 2, 2});
    m.list("pads", {0, 0, 0, 1, 0, 0, 1, 2});
    m.node("Pad", {"x", "pads"}, {"p"}).text("mode", "constant");
    m.weights("w", {1, 1, 2, 2}, {1, 2, 3, 4});
    m.node("Conv", {"p", "w"}, {shared ? "c" : "y"}).integers("pads", {1, 0, 0, 0});
    if (shared) {
      m.node("GlobalMaxPool", {"p"}, {"g"});
      m.node("Mul", {"c", "g"}, {"y"});
    }
    return m.import();
  };
  const Network folded = build(false);
  ASSERT_EQ(kinds(folded), (Kinds{input_, conv_}));
  EXPECT_EQ(get<Convolution>(folded, 1).window, (Window{2, 2, 1, 1, 1, 1, 1, 1, 1, 2}));
  const Network kept = build(true);
  ASSERT_EQ(kinds(kept), (Kinds{input_, rearrange_, conv_, pool_, multiply_}));
  EXPECT_EQ(get<Convolution>(kept, 2).window, (Window{2, 2, 1, 1, 1, 1, 1, 0, 0, 0}));
  Floats expected = run(folded);
  for (float& value : expected) value *= 3;  // the largest element
  EXPECT_EQ(run(kept), expected);
}

TEST(OnnxImport, RearrangesChannelPadReflectionAndCrop) {
  ModelBuilder channels({1, 1, 1, 2});
  channels.list("pads", {0, 1, 0, 0, 0, 2, 0, 0});
  channels.node("Pad", {"x", "pads"}, {"y"});
  EXPECT_EQ(run(channels.import()), (Floats{0, 0, 0, 1, 0, 0, 0, 0}));
  ModelBuilder reflection({1, 1, 1, 3});
  reflection.list("pads", {0, 0, 0, 2, 0, 0, 0, 1});
  reflection.node("Pad", {"x", "pads"}, {"y"}).text("mode", "reflect");
  EXPECT_EQ(run(reflection.import()), (Floats{2, 1, 0, 1, 2, 1}));
  ModelBuilder crop({1, 1, 1, 4}, 9);
  crop.node("Pad", {"x"}, {"y"}).integers("pads", {0, 0, 0, -1, 0, 0, 0, -2});
  EXPECT_EQ(run(crop.import()), (Floats{1}));
}

TEST(OnnxImport, SlicesGathersAndSplits) {
  ModelBuilder slice({1, 2, 3, 3});
  slice.list("starts", {0, -1});
  slice.list("ends", {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()});
  slice.list("axes", {2, 3});
  slice.list("steps", {2, -2});
  slice.node("Slice", {"x", "starts", "ends", "axes", "steps"}, {"y"});
  EXPECT_EQ(run(slice.import()), (Floats{2, 0, 8, 6, 11, 9, 17, 15}));
  EXPECT_EQ(slice.import().layers.back().output, (Shape{2, 2, 2}));

  ModelBuilder gather({1, 3, 1, 2});
  auto* index = gather.tensor("i", {}, onnx::TensorProto::INT64);
  index->add_int64_data(-1);
  gather.list("axes", {1});
  gather.node("Gather", {"x", "i"}, {"g"}).integer("axis", 1);
  gather.node("Unsqueeze", {"g", "axes"}, {"y"});
  EXPECT_EQ(run(gather.import()), (Floats{4, 5}));

  ModelBuilder split({1, 3, 1, 2});
  split.list("sizes", {1, 2});
  split.node("Split", {"x", "sizes"}, {"a", "b"}).integer("axis", 1);
  split.node("Concat", {"b", "a"}, {"y"}).integer("axis", 1);
  EXPECT_EQ(run(split.import()), (Floats{2, 3, 4, 5, 0, 1}));
}

TEST(OnnxImport, MakesOneLayerOfAChannelShuffle) {
  for (const std::int64_t batch : {-1, 1, 5}) {
    ModelBuilder m({batch, 6, 1, 2});
    m.list("five", {batch, 2, 3, 1, 2});
    m.list("four", {batch, -1, 1, 2});
    if (batch < 0) m.model.mutable_graph()->mutable_initializer(1)->set_int64_data(1, 6);
    m.node("Reshape", {"x", "five"}, {"a"});
    m.node("Transpose", {"a"}, {"b"}).integers("perm", {0, 2, 1, 3, 4});
    m.node("Relu", {"b"}, {"c"});
    m.node("Reshape", {"c", "four"}, {"y"});
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, function_, rearrange_}));
    EXPECT_EQ(network.layers[2].output, (Shape{6, 1, 2}));
    EXPECT_EQ(run(network), (Floats{0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11}));
  }
}

TEST(OnnxImport, ForgetsTranspositionsThatCancel) {
  ModelBuilder m({1, 2, 2, 3});
  m.node("Transpose", {"x"}, {"a"}).integers("perm", {0, 2, 3, 1});
  m.node("Relu", {"a"}, {"b"});
  m.node("Transpose", {"b"}, {"y"}).integers("perm", {0, 3, 1, 2});
  EXPECT_EQ(kinds(m.import()), (Kinds{input_, function_}));
}

TEST(OnnxImport, TakesImagesWithChannelsLast) {
  ModelBuilder m({1, 4, 5, 3});
  m.node("Transpose", {"x"}, {"t"}).integers("perm", {0, 3, 1, 2});
  m.conv("t", "y", 3, 2);
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(network.input(), (Shape{3, 4, 5}));
}

TEST(OnnxImport, PermutesTheWeightsOfAFlattenedTransposition) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("Transpose", {"x"}, {"t"}).integers("perm", {0, 2, 3, 1});  // 0 2 1 3
  m.node("Flatten", {"t"}, {"f"});
  m.weights("w", {1, 4}, {1, 10, 100, 1000});
  m.node("Gemm", {"f", "w"}, {"y"}).integer("transB", 1);
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(run(network), (Floats{20 + 100 + 3000}));
}

TEST(OnnxImport, RefusesToMixImages) {
  ModelBuilder reshape({4, 2, 1, 1});
  reshape.list("shape", {2, 4});
  reshape.node("Reshape", {"x", "shape"}, {"y"});
  expect_in(reshape.error(), {"Reshape_y", "mixes the batch"});
  ModelBuilder transpose;
  transpose.node("Transpose", {"x"}, {"y"}).integers("perm", {1, 0, 2, 3});
  expect_in(transpose.error(), {"Transpose_y", "batch axis"});
  ModelBuilder concat;
  concat.node("Concat", {"x", "x"}, {"y"}).integer("axis", 0);
  expect_in(concat.error(), {"Concat_y", "batch"});
}

// ---- constants

TEST(OnnxImport, FoldsConstantSubgraphs) {
  ModelBuilder m({3, 2, 2, 2});
  // y = reshape(x, [shape(x)[0], -1]), as exporters write x.view(x.size(0), -1)
  auto* zero = m.tensor("zero", {}, onnx::TensorProto::INT64);
  zero->add_int64_data(0);
  m.list("axes", {0});
  m.list("rest", {-1});
  m.node("Shape", {"x"}, {"s"});
  m.node("Gather", {"s", "zero"}, {"n"}).integer("axis", 0);
  m.node("Unsqueeze", {"n", "axes"}, {"u"});
  m.node("Concat", {"u", "rest"}, {"t"}).integer("axis", 0);
  m.node("Reshape", {"x", "t"}, {"f"});
  // weights = where([5] == [2 + 3], cast(floor(7.5 / 2)) + range(0, 2, 1), 0), so 3 and 4, as columns of 8 rows
  m.weights("a", {1}, {7.5f});
  m.weights("two", {1}, {2});
  m.list("2", {2}), m.list("3", {3}), m.list("5", {5}), m.list("8x2", {8, 2});
  auto* one = m.tensor("one", {}, onnx::TensorProto::INT64);
  one->add_int64_data(1);
  auto* limit = m.tensor("limit", {}, onnx::TensorProto::INT64);
  limit->add_int64_data(2);
  m.node("Div", {"a", "two"}, {"q"});
  m.node("Floor", {"q"}, {"floor"});
  m.node("Cast", {"floor"}, {"cast"}).integer("to", onnx::TensorProto::INT64);
  m.node("Range", {"zero", "limit", "one"}, {"range"});
  m.node("Add", {"cast", "range"}, {"sum"});
  m.node("Add", {"2", "3"}, {"five"});
  m.node("Equal", {"five", "5"}, {"equal"});
  m.node("Where", {"equal", "sum", "zero"}, {"where"});
  m.node("Cast", {"where"}, {"row"}).integer("to", onnx::TensorProto::FLOAT);
  m.node("Expand", {"row", "8x2"}, {"w"});
  m.node("MatMul", {"f", "w"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(run(network), (Floats{28 * 3, 28 * 4}));
}

TEST(OnnxImport, ReadsEveryWayToStoreWeights) {
  const auto bias = [](const std::function<void(onnx::TensorProto&)>& store, int type) {
    ModelBuilder m({1, 1, 1, 1});
    store(*m.tensor("b", {2}, type));
    m.node("Cast", {"b"}, {"cast"}).integer("to", onnx::TensorProto::FLOAT);
    m.weights("w", {2, 1, 1, 1}, {1, 1});
    m.node("Conv", {"x", "w", "cast"}, {"y"});
    return get<Convolution>(m.import(), 1).bias;
  };
  using onnx::TensorProto;
  const auto raw = [](auto... values) {
    return [=](TensorProto& tensor) {
      std::string bytes;
      (bytes.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
      tensor.set_raw_data(bytes);
    };
  };
  EXPECT_EQ(bias(raw(1.5f, -2.0f), TensorProto::FLOAT), (Floats{1.5f, -2}));
  EXPECT_EQ(bias(raw(1.5, -2.0), TensorProto::DOUBLE), (Floats{1.5f, -2}));
  // binary16: 0x3e00 is 1.5, 0xc000 is -2, 0x0001 is 2^-24
  EXPECT_EQ(bias(raw(std::uint16_t(0x3e00), std::uint16_t(0xc000)), TensorProto::FLOAT16), (Floats{1.5f, -2}));
  EXPECT_EQ(bias(raw(std::uint16_t(0x0001), std::uint16_t(0x8000)), TensorProto::FLOAT16),
            (Floats{std::ldexp(1.0f, -24), 0}));
  EXPECT_EQ(bias(raw(std::uint16_t(0x3fc0), std::uint16_t(0xc000)), TensorProto::BFLOAT16), (Floats{1.5f, -2}));
  EXPECT_EQ(bias(raw(std::int8_t(-7), std::int8_t(3)), TensorProto::INT8), (Floats{-7, 3}));
  EXPECT_EQ(bias(raw(std::uint8_t(200), std::uint8_t(3)), TensorProto::UINT8), (Floats{200, 3}));
  EXPECT_EQ(bias(raw(std::int32_t(-70000), std::int32_t(3)), TensorProto::INT32), (Floats{-70000, 3}));
  EXPECT_EQ(bias(raw(std::int64_t(-70000), std::int64_t(3)), TensorProto::INT64), (Floats{-70000, 3}));
  EXPECT_EQ(bias([](TensorProto& t) { t.add_double_data(1.5), t.add_double_data(2); }, TensorProto::DOUBLE),
            (Floats{1.5f, 2}));
  EXPECT_EQ(bias([](TensorProto& t) { t.add_int32_data(0x3e00), t.add_int32_data(0xc000); }, TensorProto::FLOAT16),
            (Floats{1.5f, -2}));
  EXPECT_EQ(bias([](TensorProto& t) { t.add_int32_data(-5), t.add_int32_data(6); }, TensorProto::INT32),
            (Floats{-5, 6}));
}

TEST(OnnxImport, FoldsQuantizedWeightsAndPassesActivationsOn) {
  ModelBuilder m({1, 2, 1, 1});
  m.weights("scale", {}, {0.5f});
  m.weights("scales", {2}, {0.5f, 2});
  auto* zero = m.tensor("zero", {}, onnx::TensorProto::UINT8);
  zero->add_int32_data(0);
  auto* zeros = m.tensor("zeros", {2}, onnx::TensorProto::INT8);
  zeros->add_int32_data(1), zeros->add_int32_data(-1);
  auto* w = m.tensor("w", {2, 2, 1, 1}, onnx::TensorProto::INT8);
  for (const int value : {3, 5, 7, -9}) w->add_int32_data(value);
  m.node("QuantizeLinear", {"x", "scale", "zero"}, {"q"});
  m.node("DequantizeLinear", {"q", "scale", "zero"}, {"d"});
  m.node("DequantizeLinear", {"w", "scales", "zeros"}, {"dw"}).integer("axis", 0);
  m.node("QuantizeLinear", {"dw", "scale"}, {"qw"});  // uint8: 2, 4, 32, and -32 saturates to 0
  m.node("DequantizeLinear", {"qw", "scale"}, {"ddw"});
  m.node("Conv", {"d", "ddw"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(get<Convolution>(network, 1).weights, (Floats{1, 2, 16, 0}));
}

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
           {{1, 3, -1, 4}, "open"}, {{1, 3, 4}, "rank 3"}, {{1, 0, 4, 4}, "is 0"}, {{}, "rank 0"}}) {
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
  expect_in(outputs.error(), {"2 outputs"});
  ModelBuilder undefined;
  undefined.node("Relu", {"nowhere"}, {"y"});
  expect_in(undefined.error(), {"Relu_y", "'nowhere'", "not defined"});
  ModelBuilder constant;
  constant.weights("c", {1}, {1});
  constant.node("Floor", {"c"}, {"y"});
  expect_in(constant.error(), {"'y'", "does not depend"});
  ModelBuilder old({1, 2, 4, 4}, 6);
  old.node("Relu", {"x"}, {"y"});
  expect_in(old.error(), {"version 6"});
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
