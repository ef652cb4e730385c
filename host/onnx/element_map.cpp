#include "host/onnx/element_map.hpp"

#include <algorithm>
#include <numeric>

namespace bitcluster {
namespace {

/// Leaves `source` empty where it says what emptiness says.
void forget_order(ElementMap& map) {
  for (std::size_t i = 0; i < map.source.size(); ++i) {
    if (map.source[i] != std::int32_t(i)) return;
  }
  map.source.clear();
}

}  // namespace

std::int64_t element_count(const Dims& dims) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t extent : dims) {
    if (extent < 0 || extent > max_elements) return -1;
    empty = empty || extent == 0;
    if (extent > 0 && count > max_elements / extent) return -1;
    if (extent > 0) count *= extent;
  }
  return empty ? 0 : count;
}

ElementMap select(const ElementMap& map, int axis, std::span<const std::int64_t> indices) {
  const std::int64_t extent = map.dims[axis];
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= map.dims[i];
  for (std::size_t i = axis + 1; i < map.dims.size(); ++i) inner *= map.dims[i];
  ElementMap result;
  result.dims = map.dims;
  result.dims[axis] = std::int64_t(indices.size());
  result.source.reserve(std::size_t(outer * inner) * indices.size());
  for (std::int64_t o = 0; o < outer; ++o) {
    for (const std::int64_t index : indices) {
      for (std::int64_t i = 0; i < inner; ++i) {
        result.source.push_back(index < 0 ? -1 : map.at(std::size_t((o * extent + index) * inner + i)));
      }
    }
  }
  forget_order(result);
  return result;
}

ElementMap transpose(const ElementMap& map, std::span<const int> permutation) {
  const std::size_t rank = map.dims.size();
  std::vector<std::int64_t> strides(rank, 1), result_strides(rank), position(rank, 0);
  for (std::size_t i = rank; i-- > 1;) strides[i - 1] = strides[i] * map.dims[i];
  ElementMap result;
  for (std::size_t i = 0; i < rank; ++i) {
    result.dims.push_back(map.dims[permutation[i]]);
    result_strides[i] = strides[permutation[i]];
  }
  const std::size_t count = map.size();
  result.source.reserve(count);
  std::int64_t from = 0;
  for (std::size_t n = 0; n < count; ++n) {
    result.source.push_back(map.at(std::size_t(from)));
    for (std::size_t i = rank; i-- > 0;) {
      from += result_strides[i];
      if (++position[i] < result.dims[i]) break;
      from -= result_strides[i] * result.dims[i];
      position[i] = 0;
    }
  }
  forget_order(result);
  return result;
}

ElementMap move_axis(const ElementMap& map, int from, int to) {
  if (from == to) return map;
  std::vector<int> permutation;
  for (int i = 0; i < int(map.dims.size()); ++i) {
    if (i != from) permutation.push_back(i);
  }
  permutation.insert(permutation.begin() + to, from);
  return transpose(map, permutation);
}

ElementMap reshape(const ElementMap& map, const Dims& dims) { return {dims, map.source}; }

bool broadcast(ElementMap& map, const Dims& dims) {
  if (map.dims.size() > dims.size() || element_count(dims) < 0) return false;
  const std::size_t added = dims.size() - map.dims.size();
  for (std::size_t i = added; i < dims.size(); ++i) {
    if (map.dims[i - added] != dims[i] && map.dims[i - added] != 1) return false;
  }
  map.dims.insert(map.dims.begin(), added, 1);
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (map.dims[i] != dims[i]) map = select(map, int(i), std::vector<std::int64_t>(std::size_t(dims[i]), 0));
  }
  return true;
}

bool broadcast_dims(const Dims& a, const Dims& b, Dims& result) {
  result.assign(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < result.size(); ++i) {
    // counted from the last axis
    const std::int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (x != y && x != 1 && y != 1) return false;
    result[result.size() - 1 - i] = x == 1 ? y : x;
  }
  return element_count(result) >= 0;
}

bool is_permutation(const ElementMap& map, std::size_t origin_size) {
  if (map.size() != origin_size) return false;
  if (map.in_order()) return true;
  std::vector<bool> seen(origin_size);
  for (const std::int32_t position : map.source) {
    if (position < 0 || std::size_t(position) >= origin_size || seen[std::size_t(position)]) return false;
    seen[std::size_t(position)] = true;
  }
  return true;
}

}  // namespace bitcluster
