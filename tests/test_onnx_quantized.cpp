#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

using onnx::TensorProto;

/// A model whose input is quantized with scale 1/2 and zero point 3, as "q"; scales and zero points by name.
ModelBuilder quantized_model(const Ints& input) {
  ModelBuilder m(input);
  m.weights("half", {}, {0.5f}), m.weights("quarter", {}, {0.25f}), m.weights("one", {}, {1});
  m.tensor("three", {}, TensorProto::UINT8)->add_int32_data(3);
  m.tensor("zero", {}, TensorProto::UINT8)->add_int32_data(0);
  m.tensor("zero_s", {}, TensorProto::INT8)->add_int32_data(0);
  m.node("QuantizeLinear", {"x", "half", "three"}, {"q"});
  return m;
}

void add_integers(ModelBuilder& m, const std::string& name, const Ints& dims, TensorProto::DataType type,
                  const Ints& values) {
  auto* tensor = m.tensor(name, dims, type);
  for (const std::int64_t value : values) tensor->add_int32_data(std::int32_t(value));
}

TEST(OnnxQuantized, ReadsConvolutions) {
  ModelBuilder m = quantized_model({1, 2, 1, 1});
  add_integers(m, "w", {2, 2, 1, 1}, TensorProto::INT8, {1, 2, 3, 4});
  m.weights("w_scales", {2}, {1, 10});
  add_integers(m, "w_zeros", {2}, TensorProto::INT8, {0, 1});
  add_integers(m, "b", {2}, TensorProto::INT32, {4, 6});  // in units of 1/2 and 5
  m.node("QLinearConv", {"q", "half", "three", "w", "w_scales", "w_zeros", "quarter", "zero", "b"}, {"c"});
  m.node("DequantizeLinear", {"c", "quarter", "zero"}, {"y"});
  const Network network = m.import();
  const auto weighted = weighted_layers(network);
  ASSERT_EQ(weighted.size(), 1u);
  const auto& convolution = get<Convolution>(network, weighted[0]);
  EXPECT_EQ(convolution.weights, (Floats{1, 2, 20, 30}));
  EXPECT_EQ(convolution.bias, (Floats{2, 30}));
  EXPECT_EQ(network.layers[std::size_t(weighted[0])].name, "QLinearConv_c");
}

TEST(OnnxQuantized, ReadsMatricesAndSums) {
  ModelBuilder m = quantized_model({1, 2});
  add_integers(m, "w", {2, 2}, TensorProto::INT8, {1, 2, 3, 4});
  m.weights("columns", {2}, {1, 10});
  add_integers(m, "zeros", {2}, TensorProto::INT8, {0, 0});
  m.node("QLinearMatMul", {"q", "half", "three", "w", "columns", "zeros", "one", "zero"}, {"p"});
  add_integers(m, "shift", {2}, TensorProto::UINT8, {4, 8});
  auto node = m.node("QLinearAdd", {"p", "one", "zero", "shift", "half", "zero", "one", "zero"}, {"s"});
  node.node->set_domain("com.microsoft");
  m.node("DequantizeLinear", {"s", "one", "zero"}, {"y"});
  // x = 0, 1: 3 and 40, then 2 and 4
  EXPECT_EQ(run(m.import()), (Floats{5, 44}));
}

TEST(OnnxQuantized, ReadsWhatOnnxRuntimeAdds) {
  ModelBuilder m = quantized_model({1, 2, 2, 2});
  const auto microsoft = [&](const char* op, const std::vector<std::string>& inputs, const char* output) {
    auto node = m.node(op, inputs, {output});
    node.node->set_domain("com.microsoft");
    return node;
  };
  microsoft("QLinearGlobalAveragePool", {"q", "half", "three", "half", "zero"}, "g").integer("channels_last", 0);
  microsoft("QLinearMul", {"q", "half", "three", "g", "half", "zero", "half", "zero"}, "m");
  microsoft("QLinearConcat", {"half", "zero", "q", "half", "three", "m", "half", "zero"}, "c").integer("axis", 1);
  m.node("GlobalMaxPool", {"c"}, {"pool"});
  m.node("Flatten", {"pool"}, {"f"});
  add_integers(m, "w", {1, 4}, TensorProto::INT8, {1, 2, 4, 8});
  add_integers(m, "b", {1}, TensorProto::INT32, {7});  // in units of 2 x 1/2 x 1
  microsoft("QGemm", {"f", "half", "zero", "w", "one", "zero_s", "b"}, "y").integer("transB", 1).number("alpha", 2);
  // channels' maxima 3 and 7, times their means 4.5 and 38.5
  EXPECT_EQ(run(m.import()), (Floats{2 * (3 + 2 * 7 + 4 * 4.5f + 8 * 38.5f) + 7}));
}

TEST(OnnxQuantized, SaysWhatDynamicQuantizationNeeds) {
  ModelBuilder m({1, 2, 1, 1});
  m.node("DynamicQuantizeLinear", {"x"}, {"q", "s", "z"});
  add_integers(m, "w", {2, 2, 1, 1}, TensorProto::INT8, {1, 2, 3, 4});
  m.node("ConvInteger", {"q", "w", "z"}, {"y"});
  expect_in(m.error(), {"DynamicQuantizeLinear_q", "found for every image", "quantize statically"});
}

}  // namespace
}  // namespace bitcluster
