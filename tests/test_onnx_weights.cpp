#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <random>

#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

/// The weights that a 1x1 convolution of two channels gets from what `build` makes of "w", (2, 2, 1, 1).
template <class Build>
Floats made_weights(const Floats& values, Build&& build, int opset = 13) {
  ModelBuilder m({1, 2, 1, 1}, opset);
  m.weights("w", {2, 2, 1, 1}, values);
  build(m);
  m.node("Conv", {"x", "v"}, {"y"});
  return get<Convolution>(m.import(), 1).weights;
}

void expect_near(const Floats& found, const Floats& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-6) << i;
}

// XNOR-Net: the sign of the weights times the mean of their absolute values per filter.
TEST(OnnxWeights, FoldsBinaryNetworks) {
  const Floats found = made_weights({0.5f, -1.5f, 0, 4}, [](ModelBuilder& m) {
    m.node("Sign", {"w"}, {"sign"});
    m.node("Abs", {"w"}, {"magnitude"});
    m.node("ReduceMean", {"magnitude"}, {"scale"}).integers("axes", {1, 2, 3});
    m.node("Mul", {"sign", "scale"}, {"v"});
  });
  EXPECT_EQ(found, (Floats{1, -1, 0, 2}));
}

// DoReFa with 2 bits: 2 round(3 (tanh(w) / (2 max |tanh(w)|) + 1/2)) / 3 - 1
TEST(OnnxWeights, FoldsDoReFaNetworks) {
  const Floats found = made_weights({0.1f, -0.9f, 2, -0.4f}, [](ModelBuilder& m) {
    m.weights("half", {}, {0.5f}), m.weights("two", {}, {2}), m.weights("three", {}, {3}), m.weights("one", {}, {1});
    m.node("Tanh", {"w"}, {"t"});
    m.node("Abs", {"t"}, {"a"});
    m.node("ReduceMax", {"a"}, {"largest"}).integer("keepdims", 0);
    m.node("Mul", {"largest", "two"}, {"range"});
    m.node("Div", {"t", "range"}, {"d"});
    m.node("Add", {"d", "half"}, {"s"});
    m.node("Mul", {"s", "three"}, {"levels"});
    m.node("Round", {"levels"}, {"r"});
    m.node("Div", {"r", "three"}, {"q"});
    m.node("Mul", {"q", "two"}, {"q2"});
    m.node("Sub", {"q2", "one"}, {"v"});
  });
  Floats expected;
  for (const double w : {0.1, -0.9, 2.0, -0.4}) {
    expected.push_back(float(2 * std::nearbyint(3 * (std::tanh(w) / (2 * std::tanh(2.0)) + 0.5)) / 3 - 1));
  }
  expect_near(found, expected);
}

// LSQ with 3 bits: round(clip(w / s, -4, 3)) s, halves to even
TEST(OnnxWeights, FoldsLearnedStepSizes) {
  const Floats found = made_weights({0.25f, -3, 0.75f, 9}, [](ModelBuilder& m) {
    m.weights("s", {}, {0.5f}), m.weights("low", {}, {-4}), m.weights("high", {}, {3});
    m.node("Div", {"w", "s"}, {"d"});
    m.node("Clip", {"d", "low", "high"}, {"c"});
    m.node("Round", {"c"}, {"r"});
    m.node("Mul", {"r", "s"}, {"v"});
  });
  EXPECT_EQ(found, (Floats{0, -2, 1, 1.5f}));
}

// (w - mean) / sqrt(variance) per filter, written out, and as the batch normalization in training mode that timm uses
TEST(OnnxWeights, FoldsWeightStandardization) {
  const Floats values = {1, 3, -2, 6}, expected = {-1, 1, -1, 1};
  expect_near(made_weights(values,
                           [](ModelBuilder& m) {
                             m.weights("two", {}, {2});
                             m.node("ReduceMean", {"w"}, {"mean"}).integers("axes", {1, 2, 3});
                             m.node("Sub", {"w", "mean"}, {"d"});
                             m.node("Pow", {"d", "two"}, {"square"});
                             m.node("ReduceMean", {"square"}, {"variance"}).integers("axes", {1, 2, 3});
                             m.node("Sqrt", {"variance"}, {"deviation"});
                             m.node("Reciprocal", {"deviation"}, {"factor"});
                             m.node("Mul", {"d", "factor"}, {"v"});
                           }),
              expected);
  expect_near(made_weights(
                  values,
                  [](ModelBuilder& m) {
                    m.list("rows", {1, 2, -1}), m.list("back", {2, 2, 1, 1});
                    m.weights("ones", {2}, {1, 1}), m.weights("zeros", {2}, {0, 0});
                    m.node("Reshape", {"w", "rows"}, {"r"});
                    m.node("BatchNormalization", {"r", "ones", "zeros", "zeros", "ones"}, {"n", "m", "s"})
                        .number("epsilon", 0)
                        .integer("training_mode", 1);
                    m.node("Reshape", {"n", "back"}, {"v"});
                  },
                  14),
              expected);
}

// Weight normalization: g w / |w| per filter
TEST(OnnxWeights, FoldsWeightNormalization) {
  const Floats found = made_weights({3, 4, 0, -2}, [](ModelBuilder& m) {
    m.weights("g", {2, 1, 1, 1}, {10, 1});
    m.node("ReduceL2", {"w"}, {"norm"}).integers("axes", {1, 2, 3});
    m.node("Div", {"w", "norm"}, {"n"});
    m.node("Mul", {"n", "g"}, {"v"});
  });
  EXPECT_EQ(found, (Floats{6, 8, 0, -1}));
}

TEST(OnnxWeights, FoldsTernaryNetworks) {
  const Floats found = made_weights({0.5f, -1.5f, 0.1f, 4}, [](ModelBuilder& m) {
    m.weights("threshold", {}, {0.3f}), m.weights("zero", {}, {0});
    m.node("Abs", {"w"}, {"a"});
    m.node("GreaterOrEqual", {"a", "threshold"}, {"large"});
    m.node("Sign", {"w"}, {"s"});
    m.node("Where", {"large", "s", "zero"}, {"v"});
  });
  EXPECT_EQ(found, (Floats{1, -1, 0, 1}));
}

// The two largest weights of every filter stay, by TopK and by ScatterElements of a mask.
TEST(OnnxWeights, FoldsPrunedNetworks) {
  ModelBuilder m({1, 3, 1, 1});
  m.weights("w", {2, 3}, {0.5f, -3, 1, 4, 0.25f, -5}), m.weights("zeros", {2, 3}, Floats(6, 0));
  m.weights("ones", {2, 2}, Floats(4, 1));
  m.list("two", {2}), m.list("shape", {2, 3, 1, 1});
  m.node("Abs", {"w"}, {"a"});
  m.node("TopK", {"a", "two"}, {"values", "indices"}).integer("axis", 1);
  m.node("ScatterElements", {"zeros", "indices", "ones"}, {"mask"}).integer("axis", 1);
  m.node("Mul", {"w", "mask"}, {"pruned"});
  m.node("Reshape", {"pruned", "shape"}, {"v"});
  m.node("Conv", {"x", "v"}, {"y"});
  EXPECT_EQ(get<Convolution>(m.import(), 1).weights, (Floats{0, -3, 1, 4, 0, -5}));
}

TEST(OnnxWeights, SumsProducts) {
  const Floats found = made_weights({1, 2, 3, 4}, [](ModelBuilder& m) {
    m.weights("b", {2, 2}, {1, 10, 100, 1000});
    m.list("matrix", {2, 2}), m.list("shape", {2, 2, 1, 1});
    m.node("Reshape", {"w", "matrix"}, {"a"});
    m.node("Einsum", {"a", "b"}, {"p"}).text("equation", "ij, kj -> ki");
    m.node("Reshape", {"p", "shape"}, {"v"});
  });
  EXPECT_EQ(found, (Floats{21, 43, 2100, 4300}));
}

TEST(OnnxWeights, SplitsConstants) {
  ModelBuilder m({1, 2, 1, 1}, 11);
  m.weights("w", {4, 2, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8});
  m.node("Split", {"w"}, {"first", "second"}).integer("axis", 0);
  m.node("Conv", {"x", "second"}, {"y"});
  EXPECT_EQ(get<Convolution>(m.import(), 1).weights, (Floats{5, 6, 7, 8}));
}

TEST(OnnxWeights, MultipliesMatrices) {
  // low-rank weights: (2, 1) x (1, 2), then half of the transposed
  const Floats found = made_weights({0, 0, 0, 0}, [](ModelBuilder& m) {
    m.weights("a", {2, 1}, {1, 2}), m.weights("b", {1, 2}, {10, 20}), m.weights("i", {2, 2}, {1, 0, 0, 1});
    m.list("shape", {2, 2, 1, 1});
    m.node("MatMul", {"a", "b"}, {"p"});  // 10 20 / 20 40
    m.node("Gemm", {"p", "i", "i"}, {"g"}).integer("transA", 1).number("alpha", 0.5f).number("beta", 3);
    m.node("Reshape", {"g", "shape"}, {"v"});
  });
  EXPECT_EQ(found, (Floats{8, 10, 10, 23}));
}

TEST(OnnxWeights, DequantizesEveryIntegerType) {
  using onnx::TensorProto;
  for (const auto type : {TensorProto::INT16, TensorProto::UINT16, TensorProto::INT32, TensorProto::UINT8}) {
    ModelBuilder m({1, 1, 1, 1}, 21);
    auto* w = m.tensor("w", {2, 1, 1, 1}, type);
    w->add_int32_data(200), w->add_int32_data(3);
    m.weights("scales", {2}, {0.5f, 2});
    auto* zeros = m.tensor("zeros", {2}, type);
    zeros->add_int32_data(100), zeros->add_int32_data(1);
    m.node("DequantizeLinear", {"w", "scales", "zeros"}, {"d"}).integer("axis", 0);
    m.node("Conv", {"x", "d"}, {"y"});
    EXPECT_EQ(get<Convolution>(m.import(), 1).weights, (Floats{50, 4})) << type;
  }
}

TEST(OnnxWeights, QuantizesToTheRangeOfTheZeroPoint) {
  using onnx::TensorProto;
  const auto weights = [](TensorProto::DataType type) {
    ModelBuilder m({1, 1, 1, 1}, 21);
    m.weights("w", {3, 1, 1, 1}, {-40000, 40000, 2.5f});
    m.weights("one", {}, {1});
    m.tensor("zero", {}, type)->add_int32_data(0);
    m.node("QuantizeLinear", {"w", "one", "zero"}, {"q"});
    m.node("DequantizeLinear", {"q", "one", "zero"}, {"d"});
    m.node("Conv", {"x", "d"}, {"y"});
    return get<Convolution>(m.import(), 1).weights;
  };
  EXPECT_EQ(weights(TensorProto::INT8), (Floats{-128, 127, 2}));
  EXPECT_EQ(weights(TensorProto::UINT8), (Floats{0, 255, 2}));
  EXPECT_EQ(weights(TensorProto::INT16), (Floats{-32768, 32767, 2}));
  EXPECT_EQ(weights(TensorProto::UINT16), (Floats{0, 40000, 2}));
}

TEST(OnnxWeights, DequantizesBlocks) {
  ModelBuilder m({1, 4, 1, 1}, 21);
  auto* w = m.tensor("w", {2, 4, 1, 1}, onnx::TensorProto::INT8);
  for (int i = 1; i <= 8; ++i) w->add_int32_data(i);
  m.weights("scales", {2, 2, 1, 1}, {1, 10, 100, 1000});
  m.node("DequantizeLinear", {"w", "scales"}, {"d"}).integer("axis", 1).integer("block_size", 2);
  m.node("Conv", {"x", "d"}, {"y"});
  EXPECT_EQ(get<Convolution>(m.import(), 1).weights, (Floats{1, 2, 30, 40, 500, 600, 7000, 8000}));
}

TEST(OnnxWeights, CastsAsTheTypesSay) {
  ModelBuilder m({1, 1, 1, 1});
  m.list("w", {300, -1, 7});
  m.list("shape", {3, 1, 1, 1});
  m.node("Cast", {"w"}, {"narrow"}).integer("to", onnx::TensorProto::UINT8);
  m.node("Cast", {"narrow"}, {"real"}).integer("to", onnx::TensorProto::FLOAT);
  m.node("Reshape", {"real", "shape"}, {"v"});
  m.node("Conv", {"x", "v"}, {"y"});
  EXPECT_EQ(get<Convolution>(m.import(), 1).weights, (Floats{44, 255, 7}));
  ModelBuilder half({1, 1, 1, 1});
  half.weights("w", {2, 1, 1, 1}, {2049, 70000});  // binary16 has 11 bits and ends at 65504
  half.weights("high", {}, {1000000});
  half.node("Cast", {"w"}, {"narrow"}).integer("to", onnx::TensorProto::FLOAT16);
  half.node("Cast", {"narrow"}, {"wide"}).integer("to", onnx::TensorProto::FLOAT);
  half.node("Min", {"wide", "high"}, {"v"});
  half.node("Conv", {"x", "v"}, {"y"});
  EXPECT_EQ(get<Convolution>(half.import(), 1).weights, (Floats{2048, 1000000}));
  ModelBuilder wrong({1, 1, 1, 1});
  wrong.weights("w", {1, 1, 1, 1}, {300});
  wrong.node("Cast", {"w"}, {"v"}).integer("to", onnx::TensorProto::INT8);
  wrong.node("Conv", {"x", "v"}, {"y"});
  expect_in(wrong.error(), {"Cast_v", "300 does not fit"});
}

// VGG-16's first fully connected layer has 102,760,448 weights; a tenth of that is above what was once the limit.
TEST(OnnxWeights, MakesLargeWeights) {
  ModelBuilder m({1, 1000, 1, 1});
  m.list("shape", {10000, 1000});
  m.node("ConstantOfShape", {"shape"}, {"zeros"});
  m.weights("third", {}, {0.25f});
  m.node("Add", {"zeros", "third"}, {"w"});
  m.node("Flatten", {"x"}, {"f"});
  m.node("Gemm", {"f", "w"}, {"y"}).integer("transB", 1);
  const Network network = m.import();
  EXPECT_EQ(get<Convolution>(network, 1).weights, Floats(10000000, 0.25f));
}

TEST(OnnxWeights, BoundsWhatASmallFileMayMake) {
  ModelBuilder one({1, 1, 1, 1});
  one.list("shape", {1 << 15, 1 << 15});
  one.node("ConstantOfShape", {"shape"}, {"c"});
  one.node("ReduceMean", {"c"}, {"m"}).integers("axes", {0, 1}).integer("keepdims", 0);
  one.node("Add", {"x", "m"}, {"y"});
  expect_in(one.error(), {"ConstantOfShape_c", "32768 x 32768", "too large"});
  // many, held together: 300 x 16 MB
  ModelBuilder many({1, 1, 1, 1});
  many.list("shape", {1 << 22});
  for (int i = 0; i < 300; ++i) many.node("ConstantOfShape", {"shape"}, {fmt::format("c{}", i)});
  std::vector<std::string> inputs;
  for (int i = 0; i < 300; ++i) inputs.push_back(fmt::format("c{}", i));
  many.node("Sum", inputs, {"s"});
  many.node("ReduceMean", {"s"}, {"m"}).integers("axes", {0}).integer("keepdims", 0);
  many.node("Add", {"x", "m"}, {"y"});
  expect_in(many.error(), {"ConstantOfShape_c", "too large"});
  // and one after the other, each of which is let go
  ModelBuilder chain({1, 1, 1, 1});
  chain.list("shape", {1 << 24});
  chain.node("ConstantOfShape", {"shape"}, {"c0"});
  for (int i = 0; i < 100; ++i) chain.node("Neg", {fmt::format("c{}", i)}, {fmt::format("c{}", i + 1)});
  chain.node("ReduceMean", {"c100"}, {"m"}).integers("axes", {0}).integer("keepdims", 0);
  chain.node("Add", {"x", "m"}, {"y"});
  expect_in(chain.error(), {"Neg_c", "which is the most for a file of its size"});
}

// Small results of much work.
TEST(OnnxWeights, BoundsTheWorkOfASmallFile) {
  ModelBuilder m({1, 1, 1, 1});
  m.list("shape", {1 << 12, 1 << 12});
  m.node("ConstantOfShape", {"shape"}, {"c"});
  m.node("MatMul", {"c", "c"}, {"p"});
  m.node("ReduceMean", {"p"}, {"m"}).integers("axes", {0, 1}).integer("keepdims", 0);
  m.node("Add", {"x", "m"}, {"y"});
  expect_in(m.error(), {"MatMul_p", "which is the most for a file of its size"});
  ModelBuilder means({1, 1, 1, 1});
  means.list("shape", {1 << 24});
  means.node("ConstantOfShape", {"shape"}, {"c"});
  std::vector<std::string> inputs = {"x"};
  for (int i = 0; i < 300; ++i) {
    inputs.push_back(fmt::format("m{}", i));
    means.node("ReduceMean", {"c"}, {inputs.back()}).integers("axes", {0}).integer("keepdims", 0);
  }
  means.node("Sum", inputs, {"y"});
  expect_in(means.error(), {"ReduceMean_m", "which is the most for a file of its size"});
}

TEST(OnnxWeights, RefusesWhatItCannotEvaluate) {
  ModelBuilder m({1, 1, 1, 1});
  m.weights("w", {1, 1, 1, 1}, {1});
  m.node("NoSuchOperator", {"w"}, {"v"});
  m.node("Conv", {"x", "v"}, {"y"});
  expect_in(m.error(), {"NoSuchOperator_v", "constants only", "before the export", "Tanh", "ReduceMean"});
}

}  // namespace
}  // namespace bitcluster
