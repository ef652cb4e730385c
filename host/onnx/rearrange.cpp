#include "host/onnx/rearrange.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "host/onnx/resize.hpp"

namespace bitcluster {
namespace {

const char* const keep_batch = "export the model so that axis 0 stays the batch";

/// Everything that the operators below need.
struct Rearrangement {
  const Node& node;
  const ElementMap& map;
  const ConstantInput& input;
  BatchAxis batch;
  std::int64_t limit;

  bool batched() const { return batch.size != BatchAxis::none; }

  /// Extents with the real batch size.
  Dims full_dims() const {
    Dims dims = map.dims;
    if (batched()) dims[0] = batch.size;
    return dims;
  }

  void check_rank(std::size_t rank) const {
    if (rank > max_rank) {
      node.fail(fmt::format("a tensor has {} axes", rank), fmt::format("at most {} are supported", max_rank));
    }
  }

  /// Of a list of axes; Error if one occurs twice.
  void check_distinct(const std::vector<std::int64_t>& axes) const {
    std::vector<bool> seen(map.dims.size());
    for (const std::int64_t value : axes) {
      const auto axis = std::size_t(node.axis(value, map.dims.size()));
      if (seen[axis]) node.fail("its axes name one twice", export_again);
      seen[axis] = true;
    }
  }

  int axis(std::int64_t value, std::size_t rank) const {
    const int axis = node.axis(value, rank);
    if (batched() && axis == 0) node.fail("it works on the batch axis", keep_batch);
    return axis;
  }

  void check_size(const Dims& dims) const {
    const std::int64_t count = element_count(dims);
    if (count < 0 || count > limit) node.fail("its result is too large", "use a smaller model or check its shapes");
  }

  /// The values of an attribute, or of an input where newer operator sets have moved it; empty if there is neither.
  std::vector<std::int64_t> list(const std::string& attribute, int index) const {
    if (node.has(attribute)) return node.integers(attribute, {});
    return node.has_input(index) ? integers_of(node, input, index) : std::vector<std::int64_t>();
  }

  ElementMap flatten() const {
    const auto rank = std::int64_t(map.dims.size());
    std::int64_t axis = node.integer("axis", 1);
    if (axis < -rank || axis > rank) node.fail("its axis is outside the tensor", export_again);
    if (axis < 0) axis += rank;
    const std::int64_t rows = element_count(Dims(map.dims.begin(), map.dims.begin() + axis));
    const std::int64_t columns = element_count(Dims(map.dims.begin() + axis, map.dims.end()));
    if (batched() && (axis == 0 || rows != 1)) node.fail("it mixes the batch with other axes", keep_batch);
    return reshape(map, {rows, columns});
  }

  ElementMap reshape_to_target() const {
    const Dims from = full_dims();
    Dims dims = node.has("shape") ? node.integers("shape", {}) : integers_of(node, input, 1);
    const bool keep_zero = node.integer("allowzero", 0) != 0;
    const std::int64_t total = std::int64_t(map.size()) * (batched() ? batch.size : 1);
    std::int64_t known = 1, unknown = -1;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] == 0 && !keep_zero) {
        if (i >= from.size()) node.fail("extent 0 of its shape has no counterpart", export_again);
        dims[i] = from[i];
      }
      if (dims[i] < -1 || (dims[i] == -1 && unknown >= 0)) node.fail("its shape is not valid", export_again);
      if (dims[i] == -1) {
        unknown = std::int64_t(i);
      } else if (__builtin_mul_overflow(known, dims[i], &known)) {
        node.fail("its shape is too large", export_again);
      }
    }
    if (unknown >= 0) {
      if (known == 0 || total % known != 0) node.fail("its shape does not divide its input", export_again);
      dims[std::size_t(unknown)] = total / known;
      known = total;
    }
    if (known != total) {
      node.fail(fmt::format("its shape ({}) has another number of elements than its input ({})", fmt::join(dims, ", "),
                            fmt::join(from, ", ")),
                batched() ? "where the batch is left open, its extent here must be 0 or -1" : export_again);
    }
    if (batched()) {
      if (dims.empty() || dims[0] != batch.size) node.fail("it mixes the batch with other axes", keep_batch);
      dims[0] = 1;
    }
    check_size(dims);
    return reshape(map, dims);
  }

  ElementMap transpose_axes() const {
    const std::size_t rank = map.dims.size();
    std::vector<std::int64_t> permutation(rank);
    for (std::size_t i = 0; i < rank; ++i) permutation[i] = std::int64_t(rank - 1 - i);
    permutation = node.integers("perm", permutation);
    std::vector<int> axes;
    std::vector<bool> seen(rank);
    for (const std::int64_t axis : permutation) {
      axes.push_back(node.axis(axis, rank));
      if (seen[std::size_t(axes.back())]) node.fail("its permutation names an axis twice", export_again);
      seen[std::size_t(axes.back())] = true;
    }
    if (axes.size() != rank) node.fail("its permutation does not name every axis", export_again);
    if (batched() && axes[0] != 0) node.fail("it moves the batch axis", keep_batch);
    return transpose(map, axes);
  }

  ElementMap squeeze() const {
    std::vector<bool> removed(map.dims.size());
    const bool all = !node.has("axes") && !node.has_input(1);
    for (const std::int64_t value : list("axes", 1)) {
      const int axis = this->axis(value, map.dims.size());
      if (map.dims[std::size_t(axis)] != 1) node.fail("an axis to remove has more than one element", export_again);
      removed[std::size_t(axis)] = true;
    }
    Dims dims;
    for (std::size_t i = 0; i < map.dims.size(); ++i) {
      if (all && map.dims[i] == 1 && !(batched() && i == 0)) removed[i] = true;
      if (!removed[i]) dims.push_back(map.dims[i]);
    }
    return reshape(map, dims);
  }

  ElementMap unsqueeze() const {
    const std::vector<std::int64_t> axes = list("axes", 1);
    const std::size_t rank = map.dims.size() + axes.size();
    std::vector<bool> added(rank);
    for (const std::int64_t value : axes) {
      const int axis = this->axis(value, rank);
      if (added[std::size_t(axis)]) node.fail("its axes name one twice", export_again);
      added[std::size_t(axis)] = true;
    }
    Dims dims;
    std::size_t next = 0;
    for (std::size_t i = 0; i < rank; ++i) dims.push_back(added[i] ? 1 : map.dims[next++]);
    return reshape(map, dims);
  }

  ElementMap slice() const {
    const std::vector<std::int64_t> starts = list("starts", 1), ends = list("ends", 2);
    std::vector<std::int64_t> axes = list("axes", 3), steps = list("steps", 4);
    if (axes.empty()) {
      axes.resize(starts.size());
      std::iota(axes.begin(), axes.end(), 0);
    }
    if (steps.empty()) steps.assign(starts.size(), 1);
    if (starts.size() != ends.size() || starts.size() != axes.size() || starts.size() != steps.size()) {
      node.fail("its starts, ends, axes and steps differ in number", export_again);
    }
    check_distinct(axes);
    ElementMap result = map;
    for (std::size_t i = 0; i < starts.size(); ++i) {
      const int axis = node.axis(axes[i], map.dims.size());
      if (batched() && axis == 0) {
        if (starts[i] != 0 || ends[i] < batch.size || steps[i] != 1) {
          node.fail("it takes part of the batch", keep_batch);
        }
        continue;
      }
      if (steps[i] == 0) node.fail("its step is 0", export_again);
      const std::int64_t extent = result.dims[std::size_t(axis)];
      const std::int64_t step = std::clamp<std::int64_t>(steps[i], -max_elements, max_elements);
      const bool forward = step > 0;
      const auto position = [&](std::int64_t value, std::int64_t lowest, std::int64_t highest) {
        return std::clamp(value < 0 ? value + extent : value, lowest, highest);
      };
      const std::int64_t first =
          forward ? position(starts[i], 0, extent) : position(starts[i], 0, std::max<std::int64_t>(extent - 1, 0));
      const std::int64_t last = forward ? position(ends[i], 0, extent) : position(ends[i], -1, extent - 1);
      std::vector<std::int64_t> indices;
      if (first == 0 && last == extent && step == 1) continue;
      for (std::int64_t k = first; forward ? k < last : k > last; k += step) indices.push_back(k);
      result = select(result, axis, indices);
    }
    return result;
  }

  ElementMap gather() const {
    const int axis = this->axis(node.integer("axis", 0), map.dims.size());
    const Constant* constant = input(1);
    const auto* values = constant ? std::get_if<std::vector<std::int64_t>>(&constant->values) : nullptr;
    if (!values) node.fail("its indices are not integers", export_again);
    std::vector<std::int64_t> indices = *values;
    const std::int64_t extent = map.dims[std::size_t(axis)];
    for (std::int64_t& index : indices) {
      if (index < -extent || index >= extent) node.fail("an index is outside the tensor", export_again);
      if (index < 0) index += extent;
    }
    Dims dims(map.dims.begin(), map.dims.begin() + axis);
    dims.insert(dims.end(), constant->dims.begin(), constant->dims.end());
    dims.insert(dims.end(), map.dims.begin() + axis + 1, map.dims.end());
    check_size(dims);
    return reshape(select(map, axis, indices), dims);
  }

  ElementMap expand() const {
    Dims target = integers_of(node, input, 1), dims;
    if (batched() && target.size() == map.dims.size() && target[0] == batch.size) target[0] = 1;
    if (!broadcast_dims(map.dims, target, dims) || (batched() && (dims.size() != map.dims.size() || dims[0] != 1))) {
      node.fail(fmt::format("its shape ({}) does not fit an input of shape ({})", fmt::join(target, ", "),
                            fmt::join(full_dims(), ", ")),
                batched() ? "it may repeat axes of extent 1, but neither add axes nor repeat the batch" : export_again);
    }
    check_size(dims);
    ElementMap result = map;
    broadcast(result, dims);
    return result;
  }

  ElementMap pad() const {
    const std::size_t rank = map.dims.size();
    const std::vector<std::int64_t> pads = list("pads", 1);
    std::vector<std::int64_t> axes = node.has_input(3) ? integers_of(node, input, 3) : std::vector<std::int64_t>();
    if (axes.empty()) {
      axes.resize(rank);
      std::iota(axes.begin(), axes.end(), 0);
    }
    if (pads.size() != 2 * axes.size()) node.fail("its pads do not fit the rank of its input", export_again);
    check_distinct(axes);
    const std::string mode = node.text("mode", "constant");
    if (mode != "constant" && mode != "reflect" && mode != "edge") {
      node.fail(fmt::format("its mode is '{}'", mode), "use constant, reflect or edge");
    }
    float value = node.number("value", 0);
    if (node.has_input(2)) {
      const Constant* constant = input(2);
      if (!constant || constant->size() != 1) node.fail("its value is not one constant", export_again);
      value = constant->number(0);
    }
    ElementMap result = map;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::int64_t before = pads[i], after = pads[i + axes.size()];
      if (before == 0 && after == 0) continue;
      const int axis = this->axis(axes[i], rank);
      const std::int64_t extent = result.dims[std::size_t(axis)];
      if (std::max(before, after) > limit || std::min(before, after) < -extent || extent + before + after < 1) {
        node.fail("a pad is out of range", export_again);
      }
      if (mode == "constant" && value != 0 && std::max(before, after) > 0) {
        node.fail("it pads with a value other than 0", "pad with 0");
      }
      if (mode == "reflect" && std::max(before, after) >= extent) {
        node.fail("it reflects more elements than there are", export_again);
      }
      Dims dims = result.dims;
      dims[std::size_t(axis)] = extent + before + after;
      check_size(dims);
      std::vector<std::int64_t> indices;
      for (std::int64_t k = -before; k < extent + after; ++k) {
        if (mode == "constant") {
          indices.push_back(k < 0 || k >= extent ? -1 : k);
        } else if (mode == "edge") {
          indices.push_back(std::clamp<std::int64_t>(k, 0, extent - 1));
        } else {
          indices.push_back(k < 0 ? -k : k >= extent ? 2 * (extent - 1) - k : k);
        }
      }
      result = select(result, axis, indices);
    }
    return result;
  }

  /// Blocks of pixels become channels, or the other way round.
  std::int64_t block_size() const {
    if (map.dims.size() != 4) node.fail(fmt::format("its input has rank {}", map.dims.size()), "give it (n, c, h, w)");
    return node.bounded(node.integer("blocksize", 0), 1, "blocksize");
  }

  ElementMap depth_to_space() const {
    const std::int64_t block = block_size(), n = map.dims[0], h = map.dims[2], w = map.dims[3];
    const std::int64_t channels = map.dims[1] / (block * block);
    if (channels * block * block != map.dims[1]) node.fail("its blocksize does not divide its channels", export_again);
    const bool column_row_depth = node.text("mode", "DCR") == "CRD";
    const ElementMap apart = column_row_depth ? reshape(map, {n, channels, block, block, h, w})
                                              : reshape(map, {n, block, block, channels, h, w});
    const std::vector<int> order =
        column_row_depth ? std::vector<int>{0, 1, 4, 2, 5, 3} : std::vector<int>{0, 3, 4, 1, 5, 2};
    return reshape(transpose(apart, order), {n, channels, h * block, w * block});
  }

  ElementMap space_to_depth() const {
    const std::int64_t block = block_size(), n = map.dims[0], c = map.dims[1];
    const std::int64_t h = map.dims[2] / block, w = map.dims[3] / block;
    if (h * block != map.dims[2] || w * block != map.dims[3]) {
      node.fail("its blocksize does not divide its height and width", export_again);
    }
    const ElementMap apart = reshape(map, {n, c, h, block, w, block});
    return reshape(transpose(apart, std::vector<int>{0, 3, 5, 1, 2, 4}), {n, c * block * block, h, w});
  }

  ElementMap tile() const {
    const std::vector<std::int64_t> repeats = integers_of(node, input, 1);
    if (repeats.size() != map.dims.size()) node.fail("its repeats do not fit the rank of its input", export_again);
    ElementMap result = map;
    for (std::size_t i = 0; i < repeats.size(); ++i) {
      if (repeats[i] == 1) continue;
      const int axis = this->axis(std::int64_t(i), map.dims.size());
      Dims dims = result.dims;
      if (repeats[i] < 0 || __builtin_mul_overflow(dims[i], repeats[i], &dims[i])) {
        node.fail("a number of repeats is out of range", "check the model");
      }
      check_size(dims);
      std::vector<std::int64_t> indices;
      for (std::int64_t k = 0; k < dims[i]; ++k) indices.push_back(k % map.dims[i]);
      result = select(result, axis, indices);
    }
    return result;
  }

  /// Of Upsample as well.
  ElementMap resize() const {
    const auto indices = nearest_indices(node, input, full_dims(), limit * (batched() ? batch.size : 1));
    ElementMap result = map;
    for (std::size_t i = 0; i < indices.size(); ++i) {
      std::vector<std::int64_t> unchanged(static_cast<std::size_t>(full_dims()[i]));
      std::iota(unchanged.begin(), unchanged.end(), 0);
      if (indices[i] != unchanged) result = select(result, axis(std::int64_t(i), map.dims.size()), indices[i]);
    }
    return result;
  }

  std::vector<ElementMap> split() const {
    const int axis = this->axis(node.integer("axis", 0), map.dims.size());
    const std::int64_t extent = map.dims[std::size_t(axis)], parts = node.outputs();
    std::vector<std::int64_t> sizes = list("split", 1);
    if (sizes.empty()) {
      const std::int64_t size = parts > 0 ? (extent + parts - 1) / parts : 0;
      for (std::int64_t i = 0; i < parts; ++i) {
        sizes.push_back(std::clamp<std::int64_t>(extent - i * size, 0, size));
      }
    }
    if (std::int64_t(sizes.size()) != parts) node.fail("its sizes and outputs differ in number", export_again);
    std::vector<ElementMap> results;
    std::int64_t first = 0;
    for (const std::int64_t size : sizes) {
      if (size < 0 || size > extent - first) node.fail("its sizes do not fit its input", export_again);
      std::vector<std::int64_t> indices(static_cast<std::size_t>(size));
      std::iota(indices.begin(), indices.end(), first);
      results.push_back(select(map, axis, indices));
      first += size;
    }
    if (first != extent) node.fail("its sizes do not fit its input", export_again);
    return results;
  }
};

using Movement = std::vector<ElementMap> (*)(const Rearrangement&);

template <ElementMap (Rearrangement::*movement)() const>
std::vector<ElementMap> to_one(const Rearrangement& rearrangement) {
  return {(rearrangement.*movement)()};
}

const std::map<std::string, Movement>& movements() {
  static const std::map<std::string, Movement> known = {
      {"DepthToSpace", to_one<&Rearrangement::depth_to_space>},
      {"Expand", to_one<&Rearrangement::expand>},
      {"Flatten", to_one<&Rearrangement::flatten>},
      {"Gather", to_one<&Rearrangement::gather>},
      {"Identity", [](const Rearrangement& r) { return std::vector<ElementMap>{r.map}; }},
      {"Pad", to_one<&Rearrangement::pad>},
      {"Reshape", to_one<&Rearrangement::reshape_to_target>},
      {"Resize", to_one<&Rearrangement::resize>},
      {"Slice", to_one<&Rearrangement::slice>},
      {"SpaceToDepth", to_one<&Rearrangement::space_to_depth>},
      {"Split", [](const Rearrangement& r) { return r.split(); }},
      {"Squeeze", to_one<&Rearrangement::squeeze>},
      {"Tile", to_one<&Rearrangement::tile>},
      {"Transpose", to_one<&Rearrangement::transpose_axes>},
      {"Unsqueeze", to_one<&Rearrangement::unsqueeze>},
      {"Upsample", to_one<&Rearrangement::resize>}};
  return known;
}

}  // namespace

std::vector<std::string> rearrangement_operators() {
  std::vector<std::string> names;
  for (const auto& [name, movement] : movements()) names.push_back(name);
  return names;
}

bool is_rearrangement(const std::string& op) { return movements().contains(op); }

std::vector<std::int64_t> integers_of(const Node& node, const ConstantInput& input, int index) {
  const Constant* constant = input(index);
  const auto* values = constant ? std::get_if<std::vector<std::int64_t>>(&constant->values) : nullptr;
  if (!values || constant->dims.size() > 1) {
    node.fail(fmt::format("input {} is not a list of integers", index), export_again);
  }
  return *values;
}

std::pair<std::int64_t, std::int64_t> shape_part(const Node& node, std::size_t rank) {
  const auto extent = std::int64_t(rank);
  const auto position = [&](std::int64_t value) {
    return std::clamp<std::int64_t>(value < 0 ? value + extent : value, 0, extent);
  };
  const std::int64_t first = position(node.integer("start", 0));
  return {first, std::max(first, position(node.integer("end", extent)))};
}

std::vector<ElementMap> rearrange(const Node& node, const ElementMap& map, const ConstantInput& input, BatchAxis batch,
                                  std::int64_t limit) {
  const Rearrangement rearrangement{node, map, input, batch, limit};
  rearrangement.check_rank(map.dims.size());
  std::vector<ElementMap> results = movements().at(node.op())(rearrangement);
  for (const ElementMap& result : results) rearrangement.check_rank(result.dims.size());
  return results;
}

}  // namespace bitcluster
