#pragma once

#include <cstdint>
#include <vector>

#include "host/onnx/constant.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// For every axis of a tensor of these extents, the index that each index of the result of a Resize or Upsample node is
/// nearest to. Error for modes that compute instead, and for more than `limit` indices.
std::vector<std::vector<std::int64_t>> nearest_indices(const Node& node, const ConstantInput& input, const Dims& dims,
                                                       std::int64_t limit);

}  // namespace bitcluster
