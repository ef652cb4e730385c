#include "host/onnx/resize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "host/onnx/rearrange.hpp"

namespace bitcluster {
namespace {

/// Extent and scale of the result along one axis.
struct Resized {
  std::int64_t extent;
  double scale;
};

std::vector<double> numbers_of(const Node& node, const ConstantInput& input, int index) {
  const Constant* constant = node.has_input(index) ? input(index) : nullptr;
  std::vector<double> numbers;
  for (std::size_t i = 0; constant && i < constant->size(); ++i) numbers.push_back(constant->number(i));
  return numbers;
}

/// From `sizes` or `scales`, which operator sets have had in several places.
std::vector<Resized> read_extents(const Node& node, const ConstantInput& input, const Dims& dims) {
  const bool early = node.op() == "Upsample" || node.opset() < 11;  // (x, scales), before there were roi and sizes
  std::vector<double> scales = numbers_of(node, input, early ? 1 : 2);
  for (const float scale : node.numbers("scales")) scales.push_back(scale);
  const std::vector<double> sizes = early ? std::vector<double>() : numbers_of(node, input, 3);
  std::vector<std::int64_t> axes(dims.size());
  std::iota(axes.begin(), axes.end(), 0);
  axes = node.integers("axes", axes);
  const bool by_size = !sizes.empty();
  if (by_size != scales.empty() || (by_size ? sizes : scales).size() != axes.size()) {
    node.fail("its scales or sizes do not fit the rank of its input", "give either, one number per axis");
  }
  if (node.text("keep_aspect_ratio_policy", "stretch") != "stretch") {
    node.fail("it keeps the aspect ratio", "give the sizes that it leads to");
  }
  std::vector<Resized> extents;
  for (const std::int64_t extent : dims) extents.push_back({extent, 1});
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = std::size_t(node.axis(axes[i], dims.size()));
    const auto from = double(dims[axis]);
    const double size = by_size ? sizes[i] : std::floor(from * scales[i]);
    if (!(size >= 1 && size <= double(max_elements))) node.fail("a scale or size is out of range", "check the model");
    extents[axis] = {std::int64_t(size), by_size ? size / from : scales[i]};
  }
  return extents;
}

/// Where position x of the result lies in the input.
double original(const Node& node, const std::string& mode, double x, std::int64_t from, const Resized& to) {
  if (mode == "half_pixel") return (x + 0.5) / to.scale - 0.5;
  if (mode == "pytorch_half_pixel") return to.extent > 1 ? (x + 0.5) / to.scale - 0.5 : 0;
  if (mode == "align_corners") return to.extent > 1 ? x * double(from - 1) / double(to.extent - 1) : 0;
  if (mode == "asymmetric") return x / to.scale;
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5) / to.scale;
  node.fail(fmt::format("its coordinate_transformation_mode is '{}'", mode),
            "use half_pixel, pytorch_half_pixel, align_corners, asymmetric or tf_half_pixel_for_nn");
}

double nearest(const Node& node, const std::string& mode, double x) {
  if (mode == "round_prefer_floor") return std::ceil(x - 0.5);
  if (mode == "round_prefer_ceil") return std::floor(x + 0.5);
  if (mode == "floor") return std::floor(x);
  if (mode == "ceil") return std::ceil(x);
  node.fail(fmt::format("its nearest_mode is '{}'", mode), "use round_prefer_floor, round_prefer_ceil, floor or ceil");
}

}  // namespace

std::vector<std::vector<std::int64_t>> nearest_indices(const Node& node, const ConstantInput& input, const Dims& dims,
                                                       std::int64_t limit) {
  const std::string mode = node.text("mode", "nearest");
  if (mode != "nearest") {
    node.fail(fmt::format("its mode is '{}'", mode),
              "only 'nearest' is supported, which moves elements; interpolation would need a layer of its own");
  }
  // the first definitions knew one way only
  const bool early = node.op() == "Upsample" || node.opset() < 11;
  const std::string coordinates = early ? "asymmetric" : node.text("coordinate_transformation_mode", "half_pixel");
  const std::string rounding = early ? "floor" : node.text("nearest_mode", "round_prefer_floor");
  std::vector<std::vector<std::int64_t>> indices;
  const std::vector<Resized> extents = read_extents(node, input, dims);
  double total = 1;
  for (const Resized& to : extents) total *= double(to.extent);
  if (total > double(limit)) node.fail("its result is too large", "use a smaller model or check its shapes");
  for (std::size_t axis = 0; axis < dims.size(); ++axis) {
    const Resized& to = extents[axis];
    std::vector<std::int64_t>& along = indices.emplace_back();
    for (std::int64_t x = 0; x < to.extent; ++x) {
      const double position = to.extent == dims[axis] && to.scale == 1
                                  ? double(x)
                                  : nearest(node, rounding, original(node, coordinates, double(x), dims[axis], to));
      along.push_back(std::clamp<std::int64_t>(std::int64_t(position), 0, dims[axis] - 1));
    }
  }
  return indices;
}

}  // namespace bitcluster
