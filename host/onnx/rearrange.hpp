#pragma once

#include <string>
#include <utility>
#include <vector>

#include "host/onnx/constant.hpp"
#include "host/onnx/element_map.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// Operators that only move elements: Flatten, Reshape, Transpose, Slice, Gather, Pad, Split, ...
bool is_rearrangement(const std::string& op);
std::vector<std::string> rearrangement_operators();

/// Extent of the batch axis: `none` for constants; else axis 0 is one image of a batch of this fixed size (1 where the
/// size is left open), and a node that touches it is an Error.
struct BatchAxis {
  static constexpr std::int64_t none = 0;
  std::int64_t size = none;
};

/// What a node makes of its first input's elements, one map per output. Of a batch `map` holds one image: dims[0] is 1.
/// Error for bad arguments, for images that would mix, and for results of more than `limit` elements.
std::vector<ElementMap> rearrange(const Node& node, const ElementMap& map, const ConstantInput& input, BatchAxis batch,
                                  std::int64_t limit);

/// Integers of an input (a shape, axes, starts); Error if it is not a list of integers.
std::vector<std::int64_t> integers_of(const Node& node, const ConstantInput& input, int index);

/// Axes [first, second) whose extents a Shape node gives, of a tensor of this rank.
std::pair<std::int64_t, std::int64_t> shape_part(const Node& node, std::size_t rank);

}  // namespace bitcluster
