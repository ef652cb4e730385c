#pragma once

#include <cstdint>
#include <vector>

#include "host/onnx/constant.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// Results of a node whose inputs are all constant, one per output. Error for bad arguments, for an operator that is
/// not known, and, before anything is allocated, for a result of more than `limit` elements.
std::vector<Constant> fold(const Node& node, const ConstantInput& input, std::int64_t limit);

}  // namespace bitcluster
