#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <cmath>
#include <utility>

#include "host/onnx/element_type.hpp"
#include "host/onnx/operators.hpp"

namespace bitcluster {
namespace {

using Proto = onnx::TensorProto;

/// Of the integers of 8 or 16 bits that activations may be quantized to.
IntegerRange range_of(const Node& node, int type) {
  if (type != Proto::INT8 && type != Proto::UINT8 && type != Proto::INT16 && type != Proto::UINT16) {
    node.fail(fmt::format("it quantizes activations to element type {}", type),
              "quantize them to int8, uint8, int16 or uint16");
  }
  return integer_range(type);
}

/// The number that a scale or zero point has for the whole tensor.
float same_for_all(const Node& node, const Constant& values, const char* what) {
  if (values.size() == 0) node.fail(fmt::format("its {} is empty", what), "give one number");
  for (std::size_t i = 1; i < values.size(); ++i) {
    if (values.number(i) != values.number(0)) {
      node.fail(fmt::format("its {} differs inside the tensor", what),
                "quantize activations with one scale and zero point per tensor; only weights may have one per channel");
    }
  }
  return values.number(0);
}

/// Of QuantizeLinear, or of DequantizeLinear, whose integers have `type` where the node itself does not say it.
Quantization read_quantization(Importer& importer, const Node& node, int type) {
  Quantization result{same_for_all(node, importer.constant(node, 1), "scale"), 0, type};
  if (!(result.scale > 0) || !std::isfinite(result.scale)) {
    node.fail(fmt::format("its scale is {}", result.scale), "a scale must be positive and finite");
  }
  if (node.has_input(2)) {
    const Constant& zero_point = importer.constant(node, 2);
    result.zero_point = same_for_all(node, zero_point, "zero point");
    result.type = zero_point.type;
  }
  return result;
}

/// Rounding is left to the calibration, which may use the scale, but saturation is a part of the network: quantizers
/// remove the Relu and Clip that it does the work of.
void quantize(Importer& importer, const Node& node) {
  ImportedTensor& input = importer.tensor(node, 0);
  if (input.softmax) return importer.set(node, 0, input);
  const auto otherwise = int(node.integer("output_dtype", Proto::UINT8));
  const Quantization integers = read_quantization(importer, node, otherwise);
  const auto [lowest, highest] = range_of(node, integers.type);
  importer.make_permuted(input);
  const int layer = importer.add_layer(node.name(), Function{}, {input.layer}, importer.output_of(input.layer));
  importer.clamp(layer, integers.real(float(lowest)), integers.real(float(highest)));
  importer.quantize(layer, integers.scale);
  importer.set(node, 0, ImportedTensor{layer, input.elements, node.name(), false, integers});
}

void dequantize(Importer& importer, const Node& node) {
  ImportedTensor result = importer.tensor(node, 0);
  if (result.softmax) return importer.set(node, 0, result);
  if (!result.integers) {
    node.fail("its input depends on the image, but does not come from QuantizeLinear",
              "put a QuantizeLinear of the same scale and zero point before it");
  }
  if (read_quantization(importer, node, result.integers->type) != *result.integers) {
    node.fail("its scale, zero point or type is not that of the QuantizeLinear before it",
              "use the same scale and zero point in both");
  }
  result.integers.reset();
  importer.set(node, 0, std::move(result));
}

}  // namespace

OperatorTable quantization_operators() { return {{"DequantizeLinear", dequantize}, {"QuantizeLinear", quantize}}; }

}  // namespace bitcluster
