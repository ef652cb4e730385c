#include "host/onnx/affine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace bitcluster {
namespace {

/// Values of a constant, which must be the same all over each channel of the layer behind `input`.
std::vector<double> per_channel(Importer& importer, const Node& node, const ImportedTensor& input, const Dims& dims,
                                const std::vector<double>& values) {
  const Shape shape = importer.output_of(input.layer);
  for (const double value : values) {
    if (!std::isfinite(value)) node.fail("its constant is not finite", "check how the model was trained");
  }
  const Dims& in = input.elements.dims;
  Dims aligned(in.size() - std::min(in.size(), dims.size()), 1), channels(in.size(), 1);
  aligned.insert(aligned.end(), dims.begin(), dims.end());
  if (in.size() > 1) channels[1] = shape.channels;
  const bool one = values.size() == 1 && dims.size() <= in.size();
  if (one) return std::vector<double>(std::size_t(shape.channels), values[0]);
  if (in.size() > 1 && aligned == channels && in[1] == shape.channels && input.elements.in_order()) return values;

  importer.charge_moved(node.name(), input.elements.size());
  ElementMap map{dims, {}};
  if (!broadcast(map, in)) {
    node.fail(fmt::format("its constant of {} does not broadcast to one image's {}", fmt::join(dims, " x "),
                          fmt::join(input.elements.dims, " x ")),
              "give it one number, or one per channel");
  }
  std::vector<double> result(std::size_t(shape.channels), NAN);
  for (std::size_t i = 0; i < map.size(); ++i) {
    double& known = result[std::size_t(input.elements.at(i)) / (std::size_t(shape.height) * shape.width)];
    const double value = values[std::size_t(map.at(i))];
    if (!std::isnan(known) && known != value) {
      node.fail("its constant differs inside a channel", "only one number, or one per channel, is supported");
    }
    known = value;
  }
  return result;
}

}  // namespace

ImportedTensor scale_and_shift(Importer& importer, const Node& node, ImportedTensor& input, const Dims& dims,
                               const std::vector<double>& scale, const std::vector<double>& shift) {
  importer.make_permuted(input);
  const auto scales = per_channel(importer, node, input, dims, scale);
  const auto shifts = per_channel(importer, node, input, dims, shift);
  Convolution convolution;
  convolution.filters = convolution.groups = importer.output_of(input.layer).channels;
  convolution.weights.assign(scales.begin(), scales.end());
  convolution.bias.assign(shifts.begin(), shifts.end());
  ImportedTensor result = importer.add_elementwise(node, std::move(convolution), input);
  importer.mark_affine(result.layer);
  return result;
}

ImportedTensor scale_and_shift(Importer& importer, const Node& node, ImportedTensor& input, double scale,
                               double shift) {
  return scale_and_shift(importer, node, input, Dims(), std::vector<double>{scale}, std::vector<double>{shift});
}

ImportedTensor constant_tensor(Importer& importer, const Node& node, const Constant& constant) {
  Dims dims = constant.dims;
  if (dims.empty() || (dims[0] != 1 && dims[0] != importer.batch_size())) {
    node.fail("its constant has no axis for the batch", "give it extent 1, or that of the batch, on axis 0");
  }
  const std::size_t size = constant.size() / std::size_t(dims[0]);
  dims[0] = 1;
  if (size == 0 || std::int64_t(size) > activation_limit) {
    node.fail("its constant is empty or too large", "check the shapes of the model");
  }
  std::vector<double> values(size);
  const std::size_t plane = size / std::size_t(shape_of(dims).channels);
  bool zero = true, one_per_channel = true;
  for (std::size_t i = 0; i < constant.size(); ++i) {
    const double value = constant.number(i);
    if (i < size) values[i] = value;
    if (values[i % size] != value) {
      node.fail("its constant differs between the images of a batch", "give every image the same");
    }
    zero = zero && value == 0;
    one_per_channel = one_per_channel && value == values[i % size / plane * plane];
  }
  constexpr int input = 0;  // which layer does not matter: no element of it is taken
  ImportedTensor zeros{input, {dims, std::vector<std::int32_t>(size, -1)}, node.name()};
  if (zero) return zeros;
  if (!one_per_channel) zeros.elements.dims = {1, std::int64_t(size)};  // every element as a channel
  const Dims shape = zeros.elements.dims;
  ImportedTensor result = scale_and_shift(importer, node, zeros, shape, std::vector<double>(size, 1), values);
  result.elements.dims = dims;
  return result;
}

ImportedTensor combine(Importer& importer, const Node& node, const Operation& operation, ImportedTensor& a,
                       ImportedTensor& b) {
  const auto layer_of = [&](int x, int y, const ElementMap& elements) {
    const int layer = importer.add_layer(node.name(), operation, {x, y}, importer.output_of(x));
    return ImportedTensor{layer, elements, node.name()};
  };
  if (a.elements == b.elements && importer.output_of(a.layer) == importer.output_of(b.layer) &&
      importer.is_permuted(a)) {
    return layer_of(a.layer, b.layer, a.elements);
  }
  Dims dims;
  if (!broadcast_dims(a.elements.dims, b.elements.dims, dims) || a.elements.dims.size() != b.elements.dims.size() ||
      element_count(dims) > activation_limit) {
    node.fail(fmt::format("its inputs of {} and {} for one image cannot be combined", fmt::join(a.elements.dims, " x "),
                          fmt::join(b.elements.dims, " x ")),
              "give both the same axes, the batch first, with extents that are equal or 1");
  }
  if (std::holds_alternative<Multiply>(operation) && dims.size() == 4) {
    // squeeze-excite: one factor per channel
    for (ImportedTensor* gate : {&b, &a}) {
      ImportedTensor& other = gate == &b ? a : b;
      if (gate->elements.dims != Dims{1, dims[1], 1, 1} || other.elements.dims != dims) continue;
      const int value = importer.make_real(other, shape_of(dims));
      return layer_of(value, importer.make_real(*gate, {int(dims[1]), 1, 1}), {dims, {}});
    }
  }
  const auto widen = [&](ImportedTensor& tensor) {
    if (tensor.elements.dims == dims) return importer.make_real(tensor, shape_of(dims));
    ImportedTensor wide = tensor;
    wide.name = node.name();
    broadcast(wide.elements, dims);
    return importer.make_real(wide, shape_of(dims));
  };
  const int x = widen(a);
  return layer_of(x, widen(b), {dims, {}});
}

}  // namespace bitcluster
