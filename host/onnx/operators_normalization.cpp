#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "host/onnx/affine.hpp"
#include "host/onnx/operators.hpp"

namespace bitcluster {
namespace {

void batch_normalization(Importer& importer, const Node& node) {
  // before opset 14 further outputs, the statistics of the batch, are what makes it training mode
  bool training = node.integer("training_mode", 0) != 0;
  for (int i = 1; i < node.outputs() && node.opset() < 14; ++i) training = training || !node.output(i).empty();
  if (training) {
    node.fail("it is in training mode: it normalizes with the statistics of the batch",
              "export the model in evaluation mode (in PyTorch: model.eval(), training=TrainingMode.EVAL)");
  }
  if (node.integer("spatial", 1) != 1) {
    node.fail("it normalizes every position on its own", "normalize per channel (spatial = 1)");
  }
  ImportedTensor& input = importer.tensor(node, 0);
  const Dims& in = input.elements.dims;
  if (in.size() < 2) node.fail("its input has no channels", export_again);
  for (int i = 1; i <= 4; ++i) {
    if (importer.floats(node, i).size() != std::size_t(in[1])) {
      node.fail(fmt::format("its parameters do not fit an input of {} channels", in[1]), export_again);
    }
  }
  const auto &gamma = importer.floats(node, 1), &beta = importer.floats(node, 2), &mean = importer.floats(node, 3),
             &variance = importer.floats(node, 4);
  const double epsilon = node.number("epsilon", 1e-5f);
  std::vector<double> scale, shift;
  for (std::size_t i = 0; i < gamma.size(); ++i) {
    const double spread = variance[i] + epsilon;
    if (!(spread > 0) || !std::isfinite(spread)) {
      node.fail(fmt::format("the variance of channel {} plus epsilon is {}", i, spread),
                "it must be positive and finite: check how the model was trained");
    }
    scale.push_back(gamma[i] / std::sqrt(spread));
    shift.push_back(beta[i] - mean[i] * scale.back());
  }
  Dims dims(in.size(), 1);
  dims[1] = in[1];
  importer.set(node, 0, scale_and_shift(importer, node, input, dims, scale, shift));
}

void local_response_norm(Importer& importer, const Node& node) {
  const int source = importer.image(node);
  LocalResponseNorm norm;
  norm.size = node.bounded(node.integer("size", 0), 1, "size");
  norm.alpha = node.number("alpha", 1e-4f);
  norm.beta = node.number("beta", 0.75f);
  norm.bias = node.number("bias", 1);
  importer.emit(node, norm, {source}, importer.output_of(source));
}

/// Over one axis, which is brought to the place of the channels: x minus its mean, then a local response normalization
/// whose window has all channels, x / (epsilon + mean of squares)^(1/2), then scale and shift.
void layer_normalization(Importer& importer, const Node& node) {
  ImportedTensor input = importer.tensor(node, 0);
  const Dims dims = input.elements.dims;
  const std::size_t rank = dims.size();
  const auto axes = node.integers("axes", {});  // of recognize_layer_norms()
  const int axis = node.axis(axes.empty() ? node.integer("axis", -1) : axes[0], rank);
  if (axis == 0 || (axes.empty() && std::size_t(axis) + 1 != rank)) {
    node.fail(fmt::format("it normalizes over axes {} to {}", axis, rank - 1),
              "only a LayerNormalization over one axis, the last, is supported: over the channels of (n, h, w, c)");
  }
  for (int i = 1; i <= 2; ++i) {
    if (node.has_input(i) && importer.floats(node, i).size() != std::size_t(dims[std::size_t(axis)])) {
      node.fail("its scale or bias does not fit its input", export_again);
    }
  }
  // the axis as channels
  input.elements = move_axis(input.elements, axis, 1);
  const Dims turned = input.elements.dims;
  const Shape shape = shape_of(turned);
  const int channels = shape.channels, others = shape.height * shape.width;
  importer.make_real(input, shape);

  // the mean over channels: channels as height, everything else as channels
  ImportedTensor columns = input;
  columns.elements = move_axis(reshape(columns.elements, {1, channels, others}), 1, 2);
  Pool pool{Pool::Kind::average, {}, false};
  pool.window.kernel_h = channels;
  const int source = importer.make_real(columns, {others, channels, 1});
  Dims one_channel = turned;
  one_channel[1] = 1;
  const int mean_layer = importer.add_layer(node.name(), pool, {source}, {others, 1, 1});
  ImportedTensor mean{mean_layer, {one_channel, {}}, node.name()};
  mean = scale_and_shift(importer, node, mean, -1, 0);
  const ImportedTensor centered = combine(importer, node, Add{}, input, mean);

  LocalResponseNorm norm;
  norm.size = 2 * channels - 1;
  norm.alpha = float(double(norm.size) / channels);
  norm.beta = 0.5f;
  norm.bias = node.number("epsilon", 1e-5f);
  ImportedTensor result{importer.add_layer(node.name(), norm, {centered.layer}, shape), {turned, {}}, node.name()};
  const auto parameter = [&](int index, double otherwise) {
    std::vector<double> values(std::size_t(channels), otherwise);
    if (node.has_input(index)) values.assign(importer.floats(node, index).begin(), importer.floats(node, index).end());
    return values;
  };
  Dims per_channel(rank, 1);
  per_channel[1] = channels;
  result = scale_and_shift(importer, node, result, per_channel, parameter(1, 1), parameter(2, 0));
  result.elements = move_axis(result.elements, 1, axis);
  importer.set(node, 0, std::move(result));
}

}  // namespace

OperatorTable normalization_operators() {
  return {{"BatchNormalization", batch_normalization},
          {"LRN", local_response_norm},
          {"LayerNormalization", layer_normalization}};
}

}  // namespace bitcluster
