#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace bitcluster {

using Dims = std::vector<std::int64_t>;

/// No tensor may have more elements: positions are int32.
inline constexpr std::int64_t max_elements = std::numeric_limits<std::int32_t>::max();

/// Axes of a tensor that is rearranged; channel and pixel shuffles have six. Bounds the time that each element takes.
inline constexpr std::size_t max_rank = 8;

/// Product of extents, or -1 if one is negative or there are more than max_elements.
std::int64_t element_count(const Dims& dims);

/// A tensor of any rank whose elements are elements of another tensor (the origin), moved but not changed.
struct ElementMap {
  Dims dims;                         //!< row-major
  std::vector<std::int32_t> source;  //!< origin's position of every element, -1 for zero; empty: element i is i

  bool in_order() const { return source.empty(); }
  std::size_t size() const { return std::size_t(element_count(dims)); }
  std::int32_t at(std::size_t i) const { return source.empty() ? std::int32_t(i) : source[i]; }

  bool operator==(const ElementMap&) const = default;
};

/// The elements of `map` at the given indices of one axis; index -1 gives zeros. Indices must be inside the axis.
ElementMap select(const ElementMap& map, int axis, std::span<const std::int64_t> indices);

/// Axis i of the result is axis permutation[i] of `map`.
ElementMap transpose(const ElementMap& map, std::span<const int> permutation);

/// Axis `from` becomes axis `to`; the others keep their order.
ElementMap move_axis(const ElementMap& map, int from, int to);

/// Other extents, same elements; the number of elements must agree.
ElementMap reshape(const ElementMap& map, const Dims& dims);

/// Repeats axes of extent 1 and adds leading axes (the broadcasting of NumPy and ONNX). Returns false, leaving `map` as
/// it was, where that does not give `dims`.
bool broadcast(ElementMap& map, const Dims& dims);

/// Extents that two tensors share after broadcasting; empty rank and false if there are none.
bool broadcast_dims(const Dims& a, const Dims& b, Dims& result);

/// Whether every one of the origin's `origin_size` elements occurs exactly once.
bool is_permutation(const ElementMap& map, std::size_t origin_size);

}  // namespace bitcluster
