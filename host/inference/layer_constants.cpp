#include "host/inference/layer_constants.hpp"

#include <algorithm>
#include <cmath>

namespace bitcluster {
namespace {

double apply(const Function& function, double x) {
  switch (function.kind) {
    case Function::Kind::identity:
      return x;
    case Function::Kind::leaky_relu:
      return x < 0 ? double(function.alpha) * x : x;
    case Function::Kind::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Function::Kind::hard_sigmoid:
      return std::clamp(double(function.alpha) * x + double(function.beta), 0.0, 1.0);
    case Function::Kind::hard_swish:
      return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
  }
  return x;
}

/// Index in (h, w, c) order of an element given in (c, h, w) order.
std::int32_t to_channels_last(const Shape& shape, std::int32_t element) {
  const int plane = shape.height * shape.width;
  return element % plane * shape.channels + element / plane;
}

/// Positions start, start + dilation, ... of one axis that lie in [first, end).
int count_inside(int start, int kernel, int dilation, int first, int end) {
  int count = 0;
  for (int k = 0; k < kernel; ++k) count += start + k * dilation >= first && start + k * dilation < end;
  return count;
}

/// Positions of the pooling window at output (oy, ox) that an average divides by.
int averaged_positions(const Pool& pool, const Shape& input, int oy, int ox) {
  const Window& window = pool.window;
  const int top = pool.count_padding ? window.pad_top : 0, bottom = pool.count_padding ? window.pad_bottom : 0;
  const int left = pool.count_padding ? window.pad_left : 0, right = pool.count_padding ? window.pad_right : 0;
  return count_inside(oy * window.stride_h - window.pad_top, window.kernel_h, window.dilation_h, -top,
                      input.height + bottom) *
         count_inside(ox * window.stride_w - window.pad_left, window.kernel_w, window.dilation_w, -left,
                      input.width + right);
}

}  // namespace

LayerConstants layer_constants(const IntegerNetwork& network, int index) {
  const Layer& layer = network.network.layers[index];
  const bool last = index + 1 == int(network.network.layers.size());
  const ActivationFormat& format = network.formats[index];
  const double unit = last ? 1.0 : double(format.scale);
  LayerConstants constants;
  if (last) {
    constants.range = {layer.low, layer.high};
  } else {
    constants.range = {float(std::max(double(format.lowest()), std::rint(double(layer.low) / unit))),
                       float(std::min(double(format.highest()), std::rint(double(layer.high) / unit)))};
  }
  constants.copies = !last;
  for (const int input : layer.inputs) {
    const ActivationFormat& from = network.formats[input];
    constants.multipliers.push_back(float(double(from.scale) / unit));
    constants.copies = constants.copies && from.scale == format.scale && from.is_signed == format.is_signed &&
                       constants.range.low <= float(from.lowest()) && constants.range.high >= float(from.highest());
  }
  const auto* function = std::get_if<Function>(&layer.operation);
  if (function || std::holds_alternative<Rearrange>(layer.operation)) {
    const ActivationFormat& input = network.formats[layer.inputs[0]];
    for (int byte = 0; byte < 256; ++byte) {
      const int value = input.is_signed ? int(std::int8_t(byte)) : byte;
      float result = rescale(value, constants.multipliers.front());
      if (function) {
        const double real = apply(*function, double(input.scale) * value) / unit;
        // float32 could move a quotient across a tie, so what is 8 bits is rounded here
        result = float(last ? real : std::rint(real));
      }
      constants.reals[byte] = clamp_to(result, constants.range);
      if (!last) constants.bytes[byte] = std::uint8_t(round_to_range(result, constants.range));
    }
  }
  if (std::holds_alternative<Multiply>(layer.operation)) {
    constants.multipliers = {
        float(double(network.formats[layer.inputs[0]].scale) * double(network.formats[layer.inputs[1]].scale) / unit)};
  } else if (const auto* pool = std::get_if<Pool>(&layer.operation); pool && pool->kind == Pool::Kind::average) {
    const double scale = network.formats[layer.inputs[0]].scale;
    for (int y = 0; y < layer.output.height; ++y) {
      for (int x = 0; x < layer.output.width; ++x) {
        const int count = averaged_positions(*pool, network.network.layers[layer.inputs[0]].output, y, x);
        constants.position_multipliers.push_back(count > 0 ? float(scale / (unit * count)) : 0);
      }
    }
  } else if (const auto* norm = std::get_if<LocalResponseNorm>(&layer.operation)) {
    const ActivationFormat& input = network.formats[layer.inputs[0]];
    const double scale = input.scale;
    const int largest = norm->size * input.highest() * input.highest();
    for (int sum = 0; sum <= largest; ++sum) {
      const double squares = scale * scale * sum;
      constants.square_table.push_back(
          float(scale / unit /
                std::pow(double(norm->bias) + double(norm->alpha) / norm->size * squares, double(norm->beta))));
    }
  } else if (const auto* rearrange = std::get_if<Rearrange>(&layer.operation)) {
    const Shape& from = network.network.layers[layer.inputs[0]].output;
    constants.source.resize(rearrange->source.size());
    for (std::size_t i = 0; i < rearrange->source.size(); ++i) {
      const std::int32_t source = rearrange->source[i];
      constants.source[to_channels_last(layer.output, std::int32_t(i))] =
          source < 0 ? -1 : to_channels_last(from, source);
    }
  }
  return constants;
}

}  // namespace bitcluster
