#include <cmath>

#include "tests/onnx_models.hpp"

namespace bitcluster {
namespace {

using onnx::TensorProto;

/// A model with a scale "s" of 0.5 and zero points.
struct QuantizedModel : ModelBuilder {
  explicit QuantizedModel(const Ints& input = {1, 2, 1, 2}, int opset = 13) : ModelBuilder(input, opset) {
    weights("s", {}, {0.5f});
    zero_point("z", TensorProto::UINT8, 0);
  }

  void zero_point(const std::string& name, int type, int value) { tensor(name, {}, type)->add_int32_data(value); }

  /// QuantizeLinear and DequantizeLinear of one scale and zero point.
  void pair(const std::string& input, const std::string& output, const std::string& zero_point = "z") {
    node("QuantizeLinear", {input, "s", zero_point}, {"q_" + output});
    node("DequantizeLinear", {"q_" + output, "s", zero_point}, {output});
  }
};

// ONNX Runtime's quantizer removes the Relu before a QuantizeLinear that saturates at 0.
TEST(OnnxQuantization, KeepsTheSaturation) {
  struct Case {
    int type, zero_point;
    float low, high;
  };
  for (const auto& [type, zero_point, low, high] : {Case{TensorProto::INT8, -128, 0, 127.5f},
                                                    {TensorProto::INT8, 0, -64, 63.5f},
                                                    {TensorProto::INT8, 127, -127.5f, 0},
                                                    {TensorProto::UINT8, 0, 0, 127.5f},
                                                    {TensorProto::UINT8, 100, -50, 77.5f},
                                                    {TensorProto::INT16, 0, -16384, 16383.5f},
                                                    {TensorProto::UINT16, 65535, -32767.5f, 0}}) {
    QuantizedModel m;
    m.zero_point("zero", type, zero_point);
    m.conv("x", "c", 2, 2);
    m.pair("c", "y", "zero");
    const Network network = m.import();
    ASSERT_EQ(kinds(network), (Kinds{input_, conv_}));
    EXPECT_EQ(network.layers[1].low, low);
    EXPECT_EQ(network.layers[1].high, high);
    EXPECT_EQ(network.layers[1].step, 0.5f);
  }
}

TEST(OnnxQuantization, TakesUint8AndZeroWhereThereIsNoZeroPoint) {
  QuantizedModel m;
  m.conv("x", "c", 2, 2);
  m.node("QuantizeLinear", {"c", "s"}, {"q"});
  m.node("DequantizeLinear", {"q", "s"}, {"y"});
  EXPECT_EQ(m.import().layers[1].low, 0);
  EXPECT_EQ(m.import().layers[1].high, 127.5f);
  QuantizedModel typed({1, 2, 1, 2}, 21);
  typed.conv("x", "c", 2, 2);
  typed.node("QuantizeLinear", {"c", "s"}, {"q"}).integer("output_dtype", TensorProto::INT8);
  typed.node("DequantizeLinear", {"q", "s"}, {"y"});
  EXPECT_EQ(typed.import().layers[1].low, -64);
}

TEST(OnnxQuantization, TakesTheDomainOfOnnxRuntime) {
  QuantizedModel m;
  m.zero_point("zero", TensorProto::INT16, 0);
  m.conv("x", "c", 2, 2);
  m.pair("c", "y", "zero");
  for (auto& node : *m.model.mutable_graph()->mutable_node()) {
    if (node.op_type() != "Conv") node.set_domain("com.microsoft");
  }
  EXPECT_EQ(m.import().layers[1].high, 16383.5f);
}

TEST(OnnxQuantization, SaturatesTheImage) {
  QuantizedModel m;
  m.zero_point("low", TensorProto::INT8, 125);  // -126.5 to 1
  m.pair("x", "d", "low");
  m.conv("d", "y", 2, 1);
  const Network network = m.import();
  EXPECT_EQ(kinds(network), (Kinds{input_, function_, conv_}));
  EXPECT_EQ(run(network), (Floats{0 + 2 * 1, 1 + 2 * 1}));  // of 0 1 2 3
}

TEST(OnnxQuantization, QuantizesBranchesForThemselves) {
  const auto import = [](const std::string& other) {
    QuantizedModel m;
    m.zero_point("other", TensorProto::UINT8, 8);
    m.conv("x", "c", 2, 2);
    m.pair("c", "a");
    m.pair("c", "b", other);
    m.node("Sigmoid", {"a"}, {"f"});
    m.node("Add", {"f", "b"}, {"y"});
    return m.import();
  };
  const Network alike = import("z");
  EXPECT_EQ(kinds(alike), (Kinds{input_, conv_, function_, add_}));
  EXPECT_EQ(alike.layers[1].low, 0);
  EXPECT_EQ(alike.layers[3].inputs, (std::vector<int>{2, 1}));
  const Network different = import("other");
  EXPECT_EQ(kinds(different), (Kinds{input_, conv_, function_, function_, function_, add_}));
  EXPECT_EQ(different.layers[1].low, -infinity);
  EXPECT_EQ(different.layers[2].low, 0);
  EXPECT_EQ(different.layers[3].low, -4);
}

// PyTorch's quantized networks name the type of the integers once more.
TEST(OnnxQuantization, CastsIntegersToTheirOwnType) {
  const auto build = [](int type) {
    QuantizedModel m;
    m.conv("x", "c", 2, 2);
    m.node("QuantizeLinear", {"c", "s", "z"}, {"q"});
    m.node("Cast", {"q"}, {"t"}).integer("to", type);
    m.node("DequantizeLinear", {"t", "s", "z"}, {"y"});
    return m;
  };
  EXPECT_EQ(kinds(build(TensorProto::UINT8).import()), (Kinds{input_, conv_}));
  EXPECT_EQ(build(TensorProto::UINT8).import().layers[1].low, 0);
  for (const int type : {TensorProto::INT8, TensorProto::INT32, TensorProto::FLOAT}) {
    expect_in(build(type).error(), {"Cast_t", "another type"});
  }
}

// PyTorch's fake_quantize of 7 bits puts a Clip between the two.
TEST(OnnxQuantization, ClipsAndMovesIntegers) {
  QuantizedModel m({1, 2, 1, 2});
  m.zero_point("mid", TensorProto::UINT8, 10);
  m.zero_point("top", TensorProto::UINT8, 13);
  m.conv("x", "c", 2, 2);  // 4 7 and 8 15
  m.node("QuantizeLinear", {"c", "s", "mid"}, {"q"});
  m.node("Clip", {"q", "", "top"}, {"l"});
  m.node("Transpose", {"l"}, {"t"}).integers("perm", {0, 3, 2, 1});
  m.node("DequantizeLinear", {"t", "s", "mid"}, {"y"});
  const Network network = m.import();
  EXPECT_EQ(network.layers[1].low, -5);
  EXPECT_EQ(network.layers[1].high, 1.5f);
  QuantizedModel relu;
  relu.zero_point("low", TensorProto::INT8, -20);
  relu.conv("x", "c", 2, 2);
  relu.node("QuantizeLinear", {"c", "s", "low"}, {"q"});
  relu.node("Relu", {"q"}, {"r"});
  relu.node("DequantizeLinear", {"r", "s", "low"}, {"y"});
  EXPECT_EQ(relu.import().layers[1].low, 10);  // of integer 0
  EXPECT_EQ(relu.import().layers[1].high, 73.5f);
}

/// What ONNX fixes: integers round half to even and saturate.
float quantized(float x, float scale, float zero_point, float lowest, float highest) {
  return (std::fmin(std::fmax(std::nearbyint(x / scale) + zero_point, lowest), highest) - zero_point) * scale;
}

TEST(OnnxQuantization, IsWithinHalfAStepOfTheDefinition) {
  for (const int zero_point : {-128, -3, 0, 90, 127}) {
    QuantizedModel m({1, 1, 1, 200});
    m.weights("slope", {}, {0.9f}), m.weights("shift", {}, {-77.7f});
    m.zero_point("zero", TensorProto::INT8, zero_point);
    m.node("Mul", {"x", "slope"}, {"a"});
    m.node("Add", {"a", "shift"}, {"b"});
    m.pair("b", "y", "zero");
    const Floats found = run(m.import());
    for (int i = 0; i < 200; ++i) {
      const float x = 0.9f * float(i) - 77.7f;
      EXPECT_NEAR(found[std::size_t(i)], quantized(x, 0.5f, float(zero_point), -128, 127), 0.25 + 1e-4) << x;
    }
  }
}

TEST(OnnxQuantization, RefusesWhatItCannotKeep) {
  const auto error = [](const std::vector<std::string>& quantize, const std::vector<std::string>& dequantize) {
    QuantizedModel m;
    m.weights("twice", {}, {1});
    m.weights("equal", {2}, {0.5f, 0.5f}), m.weights("channels", {2}, {0.5f, 1}), m.weights("none", {0}, {});
    m.weights("zero_scale", {}, {0}), m.weights("negative", {}, {-1}), m.weights("nan", {}, {NAN});
    m.weights("infinite", {}, {infinity}), m.weights("float", {}, {0});
    m.zero_point("one", TensorProto::UINT8, 1), m.zero_point("signed", TensorProto::INT8, 0);
    m.zero_point("wide", TensorProto::INT32, 0);
    m.conv("x", "c", 2, 2);
    m.node("QuantizeLinear", quantize, {"q"});
    m.node("DequantizeLinear", dequantize, {"y"});
    return m.error();
  };
  EXPECT_EQ(error({"c", "s", "z"}, {"q", "s", "z"}), "");
  EXPECT_EQ(error({"c", "equal", "z"}, {"q", "equal", "z"}), "");
  expect_in(error({"c", "channels", "z"}, {"q", "channels", "z"}), {"QuantizeLinear_q", "scale differs", "per tensor"});
  for (const char* scale : {"zero_scale", "negative", "nan", "infinite"}) {
    expect_in(error({"c", scale, "z"}, {"q", scale, "z"}), {"QuantizeLinear_q", "scale is", "positive and finite"});
  }
  expect_in(error({"c", "none", "z"}, {"q", "none", "z"}), {"QuantizeLinear_q", "scale is empty"});
  expect_in(error({"c", "c", "z"}, {"q", "s", "z"}), {"QuantizeLinear_q", "depends on the image"});
  for (const char* zero_point : {"float", "wide"}) {
    expect_in(error({"c", "s", zero_point}, {"q", "s", zero_point}), {"QuantizeLinear_q", "element type", "int16"});
  }
  expect_in(error({"c", "s", "z"}, {"q", "twice", "z"}), {"DequantizeLinear_y", "not that of the QuantizeLinear"});
  expect_in(error({"c", "s", "z"}, {"q", "s", "one"}), {"DequantizeLinear_y", "not that of the QuantizeLinear"});
  expect_in(error({"c", "s", "z"}, {"q", "s", "signed"}), {"DequantizeLinear_y", "not that of the QuantizeLinear"});
  expect_in(error({"c", "s", "one"}, {"q", "s"}), {"DequantizeLinear_y", "not that of the QuantizeLinear"});
  expect_in(error({"c", "s", "z"}, {"c", "s", "z"}), {"DequantizeLinear_y", "does not come from QuantizeLinear"});
}

TEST(OnnxQuantization, RefusesToComputeWithIntegers) {
  const auto error = [](const std::string& op) {
    QuantizedModel m({1, 2, 2, 2});
    m.list("pads", {0, 0, 1, 1, 0, 0, 1, 1});
    m.node("QuantizeLinear", {"x", "s", "z"}, {"q"});
    m.node(op, op == "Pad" ? std::vector<std::string>{"q", "pads"} : std::vector<std::string>{"q"}, {"o"})
        .integers("kernel_shape", {2, 2});
    m.node("DequantizeLinear", {"o", "s", "z"}, {"y"});
    return m.error();
  };
  for (const char* op : {"Pad", "Sigmoid", "AveragePool", "Softmax", "QuantizeLinear"}) {
    expect_in(error(op), {op, "integers of QuantizeLinear", "DequantizeLinear"});
  }
  EXPECT_EQ(error("MaxPool"), "");  // the largest integer stands for the largest number
}

TEST(OnnxQuantization, DropsWhatFollowsSoftmax) {
  QuantizedModel m({1, 3});
  m.node("Softmax", {"x"}, {"p"}).integer("axis", -1);
  m.pair("p", "d");
  m.node("Cast", {"d"}, {"y"}).integer("to", TensorProto::FLOAT16);
  const Network network = m.import();
  EXPECT_EQ(kinds(network), (Kinds{input_}));
  QuantizedModel cast({1, 3});
  cast.node("Softmax", {"x"}, {"p"}).integer("axis", -1);
  cast.node("Cast", {"p"}, {"y"}).integer("to", TensorProto::INT64);  // all zeros
  expect_in(cast.error(), {"Cast_y", "integers"});
  QuantizedModel pad({1, 3});
  pad.list("pads", {0, 0, 0, 1});
  pad.node("Softmax", {"x"}, {"p"}).integer("axis", -1);
  pad.node("Pad", {"p", "pads"}, {"y"});  // a class of no probability, but of logit 0
  expect_in(pad.error(), {"Pad_y", "Softmax"});
}

}  // namespace
}  // namespace bitcluster
