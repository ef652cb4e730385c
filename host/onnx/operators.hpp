#pragma once

#include <map>
#include <string>

#include "host/onnx/importer.hpp"

namespace bitcluster {

/// Makes of one node, whose inputs are not all constant, what it is in the network.
using Operator = void (*)(Importer& importer, const Node& node);
using OperatorTable = std::map<std::string, Operator>;  //!< by the operator's name in ONNX

/// Conv, Gemm, MatMul.
OperatorTable convolution_operators();
/// Sums, products and bounds, of tensors and of constants.
OperatorTable arithmetic_operators();
/// Functions of one element.
OperatorTable activation_operators();
OperatorTable normalization_operators();
OperatorTable pooling_operators();
/// What moves elements or gives them on as they are.
OperatorTable movement_operators();
/// QuantizeLinear and DequantizeLinear, of activations.
OperatorTable quantization_operators();

}  // namespace bitcluster
