#pragma once

namespace onnx {
class GraphProto;
}

namespace bitcluster {

/// Writes every operator on quantized tensors (QLinearConv and its family, also those of ONNX Runtime in the operator
/// set com.microsoft) as what defines it: DequantizeLinear of its inputs, the operator, QuantizeLinear of its result.
void lower_quantized(onnx::GraphProto& graph);

}  // namespace bitcluster
