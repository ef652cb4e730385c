#include <cmath>
#include <cstdint>
#include <functional>

#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

TEST(OnnxConstants, FoldsConstantSubgraphs) {
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

TEST(OnnxConstants, ReadsEveryWayToStoreWeights) {
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

TEST(OnnxConstants, FoldsQuantizedWeights) {
  ModelBuilder m({1, 2, 1, 1});
  m.weights("scale", {}, {0.5f});
  m.weights("scales", {2}, {0.5f, 2});
  auto* zeros = m.tensor("zeros", {2}, onnx::TensorProto::INT8);
  zeros->add_int32_data(1), zeros->add_int32_data(-1);
  auto* w = m.tensor("w", {2, 2, 1, 1}, onnx::TensorProto::INT8);
  for (const int value : {3, 5, 7, -9}) w->add_int32_data(value);
  m.node("DequantizeLinear", {"w", "scales", "zeros"}, {"dw"}).integer("axis", 0);
  m.node("QuantizeLinear", {"dw", "scale"}, {"qw"});  // uint8: 2, 4, 32, and -32 saturates to 0
  m.node("DequantizeLinear", {"qw", "scale"}, {"ddw"});
  m.node("Conv", {"x", "ddw"}, {"y"});
  const Network network = m.import();
  ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
  EXPECT_EQ(get<Convolution>(network, 1).weights, (Floats{1, 2, 16, 0}));
}

}  // namespace
}  // namespace bitcluster
