#include <cmath>

#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

TEST(OnnxArithmetic, AddsAnyNumberOfTensorsAndConstants) {
  ModelBuilder m({1, 2, 1, 1}, 9);
  m.weights("pair", {1, 2, 1, 1}, {10, 20});
  m.node("Relu", {"x"}, {"r"});
  m.node("Sum", {"x", "pair", "r", "x"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{0 + 10, 3 + 20}));
  ModelBuilder single({1, 2, 1, 1}, 9);
  single.node("Sum", {"x"}, {"y"});
  EXPECT_EQ(run(single.import()), (Floats{0, 1}));
}

TEST(OnnxArithmetic, AveragesTensors) {
  ModelBuilder m({1, 2, 1, 1});
  m.weights("four", {}, {4});
  m.node("Relu", {"x"}, {"r"});
  m.node("Mean", {"x", "r", "four", "x"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{1, 1.75f}));
}

TEST(OnnxArithmetic, SubtractsTensors) {
  ModelBuilder m({1, 2, 1, 2});
  m.node("GlobalMaxPool", {"x"}, {"g"});
  m.node("Sub", {"x", "g"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{-1, 0, -1, 0}));
  ModelBuilder other({1, 2, 1, 2});
  other.conv("x", "c", 2, 2);  // 4 7 / 8 15
  other.node("Sub", {"x", "c"}, {"y"});
  EXPECT_EQ(run(other.import()), (Floats{-4, -6, -6, -12}));
}

// A number that multiplies all channels is no layer with weights.
TEST(OnnxArithmetic, NegatesWithoutWeights) {
  ModelBuilder m({1, 2, 1, 1});
  m.node("Neg", {"x"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, function_}));
  EXPECT_EQ(run(network), (Floats{0, -1}));
}

TEST(OnnxArithmetic, BoundsByAConstant) {
  ModelBuilder m({1, 8, 1, 1});
  m.weights("two", {}, {2}), m.weights("six", {1, 1, 1}, {6});
  m.node("Max", {"x", "two"}, {"a"});
  m.node("Min", {"six", "a"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{2, 2, 2, 3, 4, 5, 6, 6}));
  ModelBuilder relu6({1, 2, 1, 1});
  relu6.weights("zero", {}, {0}), relu6.weights("six", {}, {6});
  relu6.conv("x", "c", 2, 2);
  relu6.node("Max", {"c", "zero"}, {"a"});
  relu6.node("Min", {"a", "six"}, {"y"});
  const Network network = relu6.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(network.layers[1].low, 0);
  EXPECT_EQ(network.layers[1].high, 6);
}

TEST(OnnxArithmetic, BoundsByAConstantPerChannel) {
  for (const char* op : {"Max", "Min"}) {
    ModelBuilder m({1, 2, 1, 2});
    m.weights("pair", {2, 1, 1}, {0.5f, 2.5f});
    m.node(op, {"x", "pair"}, {"y"});
    const bool largest = op == std::string("Max");
    EXPECT_EQ(run(m.import()), largest ? (Floats{0.5f, 1, 2.5f, 3}) : (Floats{0, 0.5f, 2, 2.5f})) << op;
  }
}

TEST(OnnxArithmetic, TakesTheLargerOfTensors) {
  const auto result = [](const char* op) {
    ModelBuilder m({1, 2, 2, 2});
    m.weights("seven", {}, {7});
    m.node("Sub", {"seven", "x"}, {"down"});    // 7 ... 0
    m.node("GlobalAveragePool", {"x"}, {"g"});  // 1.5, 5.5
    m.node(op, {"x", "down", "g"}, {"y"});
    return run(m.import());
  };
  EXPECT_EQ(result("Max"), (Floats{7, 6, 5, 4, 5.5f, 5.5f, 6, 7}));
  EXPECT_EQ(result("Min"), (Floats{0, 1, 1.5f, 1.5f, 3, 2, 1, 0}));
}

TEST(OnnxArithmetic, RaisesToSmallPowers) {
  ModelBuilder m({1, 4, 1, 1});
  m.weights("three", {}, {3});
  m.node("Pow", {"x", "three"}, {"y"});
  EXPECT_EQ(run(m.import()), (Floats{0, 1, 8, 27}));
  ModelBuilder half({1, 4, 1, 1});
  half.weights("half", {}, {0.5f});
  half.node("Pow", {"x", "half"}, {"y"});
  expect_in(half.error(), {"Pow_y", "exponent is 0.5", "1, 2, 3 and 4"});
}

TEST(OnnxArithmetic, SaysWhatDivisionNeeds) {
  ModelBuilder m({1, 2, 1, 1});
  m.node("Relu", {"x"}, {"r"});
  m.node("Div", {"x", "r"}, {"y"});
  expect_in(m.error(), {"Div_y", "divides by what depends on the image", "LayerNormalization"});
}

// ---- reductions

TEST(OnnxReductions, ReduceAnyAxesOfAnImage) {
  const auto result = [](const char* op, const Ints& axes, bool keep) {
    ModelBuilder m({1, 2, 2, 2});
    m.node(op, {"x"}, {"y"}).integers("axes", axes).integer("keepdims", keep);
    return run(m.import());
  };
  for (const bool keep : {false, true}) {
    EXPECT_EQ(result("ReduceMean", {3}, keep), (Floats{0.5f, 2.5f, 4.5f, 6.5f}));
    EXPECT_EQ(result("ReduceMean", {-2}, keep), (Floats{1, 2, 5, 6}));
    EXPECT_EQ(result("ReduceMean", {1}, keep), (Floats{2, 3, 4, 5}));
    EXPECT_EQ(result("ReduceMean", {1, 3}, keep), (Floats{2.5f, 4.5f}));
    EXPECT_EQ(result("ReduceMax", {1, 2, 3}, keep), (Floats{7}));
    EXPECT_EQ(result("ReduceMin", {2, 3}, keep), (Floats{0, 4}));
  }
  ModelBuilder sum({1, 2, 2, 2});
  sum.list("axes", {2, 3});
  sum.node("ReduceSum", {"x", "axes"}, {"y"});
  EXPECT_EQ(run(sum.import()), (Floats{6, 22}));
}

TEST(OnnxReductions, ReduceWidthThenHeight) {
  ModelBuilder m({1, 2, 2, 3});
  m.node("ReduceMean", {"x"}, {"w"}).integers("axes", {3}).integer("keepdims", 0);
  m.node("ReduceMean", {"w"}, {"y"}).integers("axes", {2}).integer("keepdims", 0);
  const Network network = m.import();
  EXPECT_EQ(kinds(network), (Kinds{input_, pool_, pool_}));
  EXPECT_EQ(run(network), (Floats{2.5f, 8.5f}));
}

TEST(OnnxReductions, RefuseTheBatch) {
  ModelBuilder m;
  m.node("ReduceMean", {"x"}, {"y"}).integers("axes", {0, 1});
  expect_in(m.error(), {"ReduceMean_y", "reduces the batch"});
  ModelBuilder all;
  all.node("ReduceMean", {"x"}, {"y"});
  expect_in(all.error(), {"ReduceMean_y", "names no axes"});
}

}  // namespace
}  // namespace bitcluster
