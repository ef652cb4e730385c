#pragma once

#include "host/onnx/constant.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// Result of a node whose inputs are all constant. Error for bad arguments, and for results of more than four million
/// elements that are not weights already (these sub-graphs compute shapes and pads).
Constant fold(const Node& node, const ConstantInput& input);

}  // namespace bitcluster
