#include <cmath>

#include "host/onnx/import.hpp"
#include "tests/naive_function.hpp"
#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

void expect_near(const Floats& found, const Floats& expected, double tolerance) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], tolerance) << i;
}

TEST(OnnxActivations, ReadsFunctionsWithTheirAttributes) {
  const auto function = [](const char* op, auto&& attributes) {
    ModelBuilder m({1, 4, 1, 1}, 20);
    attributes(m.node(op, {"x"}, {"y"}));
    const Network network = m.import();
    EXPECT_EQ(kinds(network), (Kinds{input_, function_})) << op;
    return get<Function>(network, 1);
  };
  const auto none = [](NodeBuilder) {};
  EXPECT_EQ(function("Tanh", none).kind, Function::Kind::tanh);
  EXPECT_EQ(function("Erf", none).kind, Function::Kind::erf);
  EXPECT_EQ(function("Softplus", none).kind, Function::Kind::softplus);
  EXPECT_EQ(function("Sign", none).kind, Function::Kind::sign);
  EXPECT_EQ(function("Round", none).kind, Function::Kind::round);
  EXPECT_EQ(function("Elu", none).alpha, 1);
  EXPECT_EQ(function("Elu", [](NodeBuilder n) { n.number("alpha", 2); }).alpha, 2);
  EXPECT_NEAR(function("Selu", none).alpha, 1.67326, 1e-5);
  EXPECT_EQ(function("Selu", [](NodeBuilder n) { n.number("gamma", 3); }).beta, 3);
  EXPECT_EQ(function("Gelu", none).alpha, 0.5f);
  ModelBuilder m({1, 4, 1, 1}, 20);
  m.node("Gelu", {"x"}, {"y"}).text("approximate", "tanh");
  expect_in(m.error(), {"Gelu_y", "approximate is 'tanh'"});
}

TEST(OnnxActivations, AppliesASlopePerChannel) {
  ModelBuilder m({1, 2, 1, 2});
  m.weights("minus", {}, {-1}), m.weights("slopes", {2, 1, 1}, {0.5f, 0.25f});
  m.node("Mul", {"x", "minus"}, {"n"});  // 0 -1 / -2 -3
  m.node("PRelu", {"n", "slopes"}, {"p"});
  m.node("PRelu", {"x", "slopes"}, {"q"});
  m.node("Add", {"p", "q"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{0, -0.5f + 1, -0.5f + 2, -0.75f + 3}));
  ModelBuilder one({1, 2, 1, 2});
  one.weights("slope", {1}, {0.5f});
  one.node("PRelu", {"x", "slope"}, {"y"});
  const Network network = one.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, function_}));
  EXPECT_EQ(get<Function>(network, 1).kind, Function::Kind::leaky_relu);
}

// As exporters before opset 20 write it, and its other orders.
TEST(OnnxActivations, RecognisesGelu) {
  for (const int order : {0, 1, 2}) {
    ModelBuilder m({1, 4, 1, 1});
    m.weights("root", {}, {1.41421354f}), m.weights("one", {}, {1}), m.weights("half", {}, {0.5f});
    m.conv("x", "c", 4, 4);
    m.node("Div", {"c", "root"}, {"d"});
    m.node("Erf", {"d"}, {"e"});
    m.node("Add", {"e", "one"}, {"a"});
    if (order == 0) {
      m.node("Mul", {"c", "a"}, {"p"});
      m.node("Mul", {"p", "half"}, {"y"});
    } else if (order == 1) {
      m.node("Mul", {"c", "half"}, {"h"});
      m.node("Mul", {"h", "a"}, {"y"});
    } else {
      m.node("Mul", {"a", "half"}, {"h"});
      m.node("Mul", {"h", "c"}, {"y"});
    }
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, conv_, function_})) << order;
    EXPECT_EQ(get<Function>(network, 2).kind, Function::Kind::gelu);
    EXPECT_EQ(get<Function>(network, 2).alpha, 0.5f);
  }
  ModelBuilder other({1, 4, 1, 1});  // erf(x / 2) is no GELU
  other.weights("two", {}, {2}), other.weights("one", {}, {1});
  other.node("Div", {"x", "two"}, {"d"});
  other.node("Erf", {"d"}, {"e"});
  other.node("Add", {"e", "one"}, {"a"});
  other.node("Mul", {"x", "a"}, {"y"});
  const Floats result = run(other.import());
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(result[std::size_t(i)], i * (1 + std::erf(i / 2.0)), 1e-5);
}

// ConvNeXt: over the channels of (n, h, w, c).
TEST(OnnxActivations, NormalizesLayersOverChannels) {
  ModelBuilder m({1, 3, 2, 2}, 17);
  m.weights("scale", {3}, {1, 2, 3}), m.weights("bias", {3}, {0.5f, 0, -1});
  m.node("Transpose", {"x"}, {"t"}).integers("perm", {0, 2, 3, 1});
  m.node("LayerNormalization", {"t", "scale", "bias"}, {"n"}).integer("axis", -1).number("epsilon", 0.25f);
  m.node("Transpose", {"n"}, {"y"}).integers("perm", {0, 3, 1, 2});
  // every pixel has p, p + 4, p + 8: mean p + 4, variance 32 / 3
  const double spread = std::sqrt(32.0 / 3 + 0.25);
  Floats expected;
  for (const double value : {-4 / spread + 0.5, 0.0, 12 / spread - 1}) expected.insert(expected.end(), 4, float(value));
  const Network network = m.import();
  expect_near(run(network), expected, 1e-5);
  ModelBuilder two({1, 3, 2, 2}, 17);
  two.weights("scale", {2, 2}, {1, 1, 1, 1});
  two.node("LayerNormalization", {"x", "scale"}, {"y"}).integer("axis", 2);
  expect_in(two.error(), {"LayerNormalization_y", "over axes 2 to 3", "the last"});
  ModelBuilder vector({1, 4}, 17);
  vector.weights("scale", {4}, {1, 1, 1, 1});
  vector.node("LayerNormalization", {"x", "scale"}, {"y"}).number("epsilon", 0);
  const double unit = std::sqrt(1.25);
  expect_near(run(vector.import()), {float(-1.5 / unit), float(-0.5 / unit), float(0.5 / unit), float(1.5 / unit)},
              1e-5);
}

// As exporters before opset 17 write it, over any axis.
TEST(OnnxActivations, RecognisesNormalizationsOverChannels) {
  for (const bool twice : {false, true}) {
    ModelBuilder m({1, 2, 2, 1});
    m.weights("two", {}, {2}), m.weights("epsilon", {}, {0.25f});
    m.node("ReduceMean", {"x"}, {"m"}).integers("axes", {1});
    m.node("Sub", {"x", "m"}, {"d"});
    m.node("Sub", {"x", "m"}, {"d2"});
    if (twice) {
      m.node("Mul", {"d2", "d2"}, {"q"});
    } else {
      m.node("Pow", {"d", "two"}, {"q"});
    }
    m.node("ReduceMean", {"q"}, {"v"}).integers("axes", {1});
    m.node("Add", {"v", "epsilon"}, {"e"});
    m.node("Sqrt", {"e"}, {"r"});
    m.node("Div", {"d", "r"}, {"y"});
    const auto unit = float(1 / std::sqrt(1.25));
    expect_near(run(m.import()), {-unit, -unit, unit, unit}, 1e-6);
  }
  ModelBuilder other({1, 2, 2, 1});  // the mean of another axis
  other.weights("two", {}, {2}), other.weights("epsilon", {}, {0.25f});
  other.node("ReduceMean", {"x"}, {"m"}).integers("axes", {2});
  other.node("Sub", {"x", "m"}, {"d"});
  other.node("Pow", {"d", "two"}, {"q"});
  other.node("ReduceMean", {"q"}, {"v"}).integers("axes", {1});
  other.node("Add", {"v", "epsilon"}, {"e"});
  other.node("Sqrt", {"e"}, {"r"});
  other.node("Div", {"d", "r"}, {"y"});
  expect_in(other.error(), {"Sqrt_r", "only inside a LayerNormalization"});
}

// Its block: depthwise convolution, normalization over channels, two matrices with GELU between, scale and residual.
TEST(OnnxActivations, ReadsABlockOfConvNeXt) {
  ModelBuilder m({1, 2, 3, 2}, 17);
  m.weights("d", {2, 1, 1, 1}, {1, 2}), m.weights("scale", {2}, {1, 2}), m.weights("bias", {2}, {0, 1});
  m.weights("up", {2, 3}, {1, 2, 3, 4, 5, 6}), m.weights("down", {3, 2}, {1, 0, 0, 1, 1, 1});
  m.weights("up_bias", {3}, {1, 0, -1}), m.weights("gamma", {2}, {0.5f, 2});
  m.weights("root", {}, {1.41421354f}), m.weights("one", {}, {1}), m.weights("half", {}, {0.5f});
  m.node("Conv", {"x", "d"}, {"c"}).integer("group", 2);
  m.node("Transpose", {"c"}, {"t"}).integers("perm", {0, 2, 3, 1});
  m.node("LayerNormalization", {"t", "scale", "bias"}, {"n"}).number("epsilon", 0);
  m.node("MatMul", {"n", "up"}, {"u"});
  m.node("Add", {"u", "up_bias"}, {"b"});
  m.node("Div", {"b", "root"}, {"e0"});
  m.node("Erf", {"e0"}, {"e1"});
  m.node("Add", {"e1", "one"}, {"e2"});
  m.node("Mul", {"b", "e2"}, {"e3"});
  m.node("Mul", {"e3", "half"}, {"g"});
  m.node("MatMul", {"g", "down"}, {"o"});
  m.node("Mul", {"o", "gamma"}, {"s"});
  m.node("Transpose", {"s"}, {"r"}).integers("perm", {0, 3, 1, 2});
  m.node("Add", {"x", "r"}, {"y"});
  const Network network = m.import();
  EXPECT_EQ(weighted_layers(network).size(), 3u);  // depthwise, two matrices
  // of two channels the normalized ones are -1 and 1 (x_1 = 2 (p + 6) is the larger), so every pixel is the same
  const auto gelu = [](double v) { return 0.5 * v * (1 + std::erf(v / std::sqrt(2.0))); };
  const double n[] = {-1, 3}, u[] = {n[0] + 4 * n[1] + 1, 2 * n[0] + 5 * n[1], 3 * n[0] + 6 * n[1] - 1};
  Floats expected;
  for (int c = 0; c < 2; ++c) {
    const double sum = gelu(u[2]) + gelu(u[c]);
    for (int p = 0; p < 6; ++p) expected.push_back(float(c * 6 + p + (c == 0 ? 0.5 : 2) * sum));
  }
  expect_near(run(network), expected, 1e-4);
}

// LSQ and DoReFa quantize activations, too: the steps are numbers, not layers with weights.
TEST(OnnxActivations, QuantizesActivationsWithoutWeights) {
  ModelBuilder m({1, 8, 1, 1});
  m.weights("s", {}, {2}), m.weights("low", {}, {0}), m.weights("high", {}, {3});
  m.node("Div", {"x", "s"}, {"d"});
  m.node("Clip", {"d", "low", "high"}, {"c"});
  m.node("Round", {"c"}, {"r"});
  m.node("Mul", {"r", "s"}, {"y"});
  const Network network = m.import();
  EXPECT_EQ(weighted_layers(network).size(), 0u);
  EXPECT_EQ(run(network), (Floats{0, 0, 2, 4, 4, 4, 6, 6}));
}

}  // namespace
}  // namespace bitcluster
