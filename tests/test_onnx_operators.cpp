#include <cmath>

#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

// ---- convolution

TEST(OnnxOperators, ReadsConvolutionAttributes) {
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

TEST(OnnxOperators, ResolvesAutomaticPadding) {
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

TEST(OnnxOperators, FoldsBatchNormalizationAndRelu) {
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

TEST(OnnxOperators, KeepsBatchNormalizationThatCannotBeFolded) {
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

// What makes it training mode: the attribute, or before opset 14 that it gives the statistics of the batch as well.
TEST(OnnxOperators, RefusesBatchNormalizationThatTrains) {
  const auto error = [](int opset, bool training, const std::vector<std::string>& outputs, float variance = 1) {
    ModelBuilder m({1, 1, 1, 1}, opset);
    for (const char* name : {"gamma", "beta", "mean"}) m.weights(name, {1}, {1});
    m.weights("variance", {1}, {variance});
    NodeBuilder node = m.node("BatchNormalization", {"x", "gamma", "beta", "mean", "variance"}, outputs);
    if (training) node.integer("training_mode", 1);
    return m.error();
  };
  EXPECT_EQ(error(13, false, {"y"}), "");
  EXPECT_EQ(error(13, false, {"y", ""}), "");
  EXPECT_EQ(error(14, false, {"y", "m", "v"}), "");  // has no meaning there, but nothing reads them
  for (const int opset : {7, 9, 13}) {
    expect_in(error(opset, false, {"y", "m", "v", "sm", "sv"}), {"BatchNormalization_y", "training mode", "eval"});
  }
  expect_in(error(9, false, {"y", "", "", "sm"}), {"training mode"});
  expect_in(error(14, true, {"y"}), {"BatchNormalization_y", "training mode"});
  expect_in(error(15, true, {"y", "m", "v"}), {"training mode"});
  expect_in(error(13, false, {"y"}, infinity), {"variance of channel 0", "inf"});
  expect_in(error(13, false, {"y"}, NAN), {"variance of channel 0", "nan"});
}

// Where nothing before it takes them: normalization over channels before a matrix, steps of quantized activations.
TEST(OnnxOperators, FoldsScaleAndShiftIntoTheConvolutionBehind) {
  const auto build = [](bool shift, bool pad, int groups) {
    ModelBuilder m({1, 2, 2, 1});
    m.weights("scale", {2, 1, 1}, {2, 3}), m.weights("shift", {2, 1, 1}, {10, 20});
    m.weights("w", {2, 2 / groups, 2, 1}, groups == 1 ? Floats{1, 2, 3, 4, 5, 6, 7, 8} : Floats{1, 2, 3, 4});
    m.weights("b", {2}, {100, 200});
    m.node("Relu", {"x"}, {"r"});
    m.node("Mul", {"r", "scale"}, {"s"});
    if (shift) m.node("Add", {"s", "shift"}, {"a"});
    auto node = m.node("Conv", {shift ? "a" : "s", "w", "b"}, {"y"}).integer("group", groups);
    if (pad) node.integers("pads", {1, 0, 0, 0});
    return m.import();
  };
  // r = 0 1 / 2 3, s = 0 2 / 6 9, a = 10 12 / 26 29
  const Network plain = build(true, false, 1);
  ASSERT_EQ(kinds(plain), (Kinds{input_, function_, conv_}));
  EXPECT_EQ(run(plain), (Floats{100 + 10 + 24 + 78 + 116, 200 + 50 + 72 + 182 + 232}));
  const Network grouped = build(true, false, 2);
  ASSERT_EQ(kinds(grouped), (Kinds{input_, function_, conv_}));
  EXPECT_EQ(run(grouped), (Floats{100 + 10 + 24, 200 + 78 + 116}));
  const Network padded = build(false, true, 2);  // zeros stay zeros
  ASSERT_EQ(kinds(padded), (Kinds{input_, function_, conv_}));
  EXPECT_EQ(run(padded), (Floats{100 + 0, 100 + 0 + 4, 200 + 24, 200 + 18 + 36}));
  const Network both = build(true, true, 2);
  ASSERT_EQ(kinds(both), (Kinds{input_, function_, conv_, conv_}));
  EXPECT_EQ(run(both), (Floats{100 + 20, 100 + 10 + 24, 200 + 104, 200 + 78 + 116}));
}

TEST(OnnxOperators, KeepsAClampWhoseInputIsReadElsewhere) {
  ModelBuilder m({1, 2, 1, 1});
  m.weights("minus", {1, 2, 1, 1}, {-1, -1});
  m.node("Mul", {"x", "minus"}, {"c"});
  m.node("Relu", {"c"}, {"r"});
  m.node("Add", {"c", "r"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, function_, function_, add_}));
  EXPECT_EQ(network.layers[1].low, -infinity);
  EXPECT_EQ(network.layers[2].low, 0);
  EXPECT_EQ(run(network), (Floats{0, -1}));
}

TEST(OnnxOperators, ReadsClipFromAttributesAndInputs) {
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

TEST(OnnxOperators, MakesConvolutionsOfGemms) {
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

TEST(OnnxOperators, FoldsTheBiasBehindMatMul) {
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

TEST(OnnxOperators, FoldsConstantArithmetic) {
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

TEST(OnnxOperators, RefusesConstantsThatVaryInsideAChannel) {
  ModelBuilder m({1, 1, 1, 2});
  m.weights("c", {1, 1, 1, 2}, {1, 2});
  m.node("Add", {"x", "c"}, {"y"});
  expect_in(m.error(), {"Add_y", "(Add)", "differs inside a channel"});
  ModelBuilder same({1, 1, 1, 2});
  same.weights("c", {1, 1, 1, 2}, {3, 3});
  same.node("Add", {"x", "c"}, {"y"});
  EXPECT_EQ(run(same.import()), (Floats{3, 4}));
}

TEST(OnnxOperators, MultipliesBySqueezeExciteFactors) {
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

TEST(OnnxOperators, BroadcastsASumByRearranging) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("GlobalMaxPool", {"x"}, {"g"});
  m.node("Add", {"x", "g"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{1, 2, 5, 6}));
}

TEST(OnnxOperators, RecognisesHardSwish) {
  ModelBuilder m({1, 8, 1, 1});
  m.weights("four", {}, {4});
  m.node("Sub", {"x", "four"}, {"s"});
  m.node("HardSigmoid", {"s"}, {"h"}).number("alpha", 1 / 6.0f);
  m.node("Mul", {"s", "h"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, function_, function_}));
  EXPECT_EQ(get<Function>(network, 2).kind, Function::Kind::hard_swish);
  const Floats result = run(network);
  EXPECT_EQ(result[0], 0);                  // -4
  EXPECT_NEAR(result[2], -2 / 6.0f, 1e-6);  // -2 * 1/6
  EXPECT_EQ(result[7], 3);                  // 3 * 1
}

TEST(OnnxOperators, ReadsFunctions) {
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

// The window may be far larger than the tensor, as where a model normalizes over all channels.
TEST(OnnxOperators, NormalizesOverMoreChannelsThanThereAre) {
  ModelBuilder m({1, 8, 1, 1});
  m.node("LRN", {"x"}, {"y"}).integer("size", 40001).number("alpha", 40001).number("beta", 1).number("bias", 1);
  const Network network = m.import();
  EXPECT_EQ(get<LocalResponseNorm>(network, 1).size, 40001);
  // 0 + 1 + 4 + ... + 49 = 140
  const Floats result = run(network);
  for (int i = 0; i < 8; ++i) EXPECT_FLOAT_EQ(result[std::size_t(i)], float(i) / 141);
}

// ---- pooling

TEST(OnnxOperators, ReadsPools) {
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

TEST(OnnxOperators, DropsPoolsThatDoNothing) {
  ModelBuilder m({1, 1, 2, 2});
  m.conv("x", "c", 1, 1);
  m.node("AveragePool", {"c"}, {"p"}).integers("kernel_shape", {1, 1}).integers("strides", {1, 1});
  m.node("Relu", {"p"}, {"y"});
  EXPECT_EQ(kinds(m.import()), (Kinds{input_, conv_}));
}

TEST(OnnxOperators, MakesAPoolOfReduceMean) {
  for (const bool keep : {false, true}) {
    ModelBuilder m({1, 2, 1, 2});
    m.node("ReduceMean", {"x"}, {"r"}).integers("axes", {-1, 2}).integer("keepdims", keep);
    if (keep) m.node("Flatten", {"r"}, {"f"});
    m.weights("w", {1, 2}, {1, 10});
    m.node("Gemm", {keep ? "f" : "r", "w"}, {"y"}).integer("transB", 1);
    EXPECT_EQ(run(m.import()), (Floats{0.5f + 25}));
  }
}

}  // namespace
}  // namespace bitcluster
