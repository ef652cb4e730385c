#include "host/inference/layer_constants.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <variant>

#include "host/base/error.hpp"
#include "host/base/overloaded.hpp"
#include "host/model/function.hpp"

namespace bitcluster {
namespace {

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

/// Adds what only one kind of layer needs.
struct AddTables {
  const IntegerNetwork& network;
  const Layer& layer;
  bool last;
  double unit;  //!< of the output
  LayerConstants& constants;

  const ActivationFormat& input_format(int i = 0) const { return network.formats[layer.inputs[i]]; }
  const Shape& input_shape() const { return network.network.layers[layer.inputs[0]].output; }

  void operator()(const OneOf<Input, Convolution, Add, Concat> auto&) const {}

  void operator()(const Pool& pool) const {
    if (pool.kind != Pool::Kind::average) return;
    const double scale = input_format().scale;
    for (int y = 0; y < layer.output.height; ++y) {
      for (int x = 0; x < layer.output.width; ++x) {
        const int count = averaged_positions(pool, input_shape(), y, x);
        constants.position_multipliers.push_back(count > 0 ? float(scale / (unit * count)) : 0);
      }
    }
  }

  void operator()(const Multiply&) const {
    constants.multipliers = {float(double(input_format(0).scale) * double(input_format(1).scale) / unit)};
  }

  void operator()(const Rearrange& rearrange) const {
    tabulate([&](int value) { return rescale(value, constants.multipliers.front()); });
    constants.source.resize(rearrange.source.size());
    for (std::size_t i = 0; i < rearrange.source.size(); ++i) {
      const std::int32_t source = rearrange.source[i];
      constants.source[to_channels_last(layer.output, std::int32_t(i))] =
          source < 0 ? -1 : to_channels_last(input_shape(), source);
    }
  }

  void operator()(const Function& function) const {
    tabulate([&](int value) {
      const double real = apply(function, double(input_format().scale) * value) / unit;
      // float32 could move a quotient across a tie, so what is 8 bits is rounded here
      return float(last ? real : std::rint(real));
    });
  }

  void operator()(const LocalResponseNorm& norm) const {
    const int channels = layer.output.channels, highest = input_format().highest();
    const auto [before, after] = channel_window(norm, channels);
    const int summed = std::min(channels, before + 1 + after);
    const std::int64_t largest = std::int64_t(summed) * highest * highest;
    if (largest > std::numeric_limits<std::int32_t>::max()) {
      throw Error(fmt::format("layer '{}' can overflow int32", layer.name),
                  fmt::format("its sum of squares can reach {} over {} channels", largest, summed),
                  "use a smaller size of its local response normalization");
    }
    const double scale = input_format().scale;
    constants.square_table.reserve(std::size_t(largest) + 1);
    for (std::int64_t sum = 0; sum <= largest; ++sum) {
      const double squares = scale * scale * double(sum);
      constants.square_table.push_back(float(
          scale / unit / std::pow(double(norm.bias) + double(norm.alpha) / norm.size * squares, double(norm.beta))));
    }
  }

  /// Output, before clamping, by the input's byte.
  template <class Compute>
  void tabulate(Compute&& compute) const {
    for (int byte = 0; byte < 256; ++byte) {
      const float result = compute(input_format().is_signed ? int(std::int8_t(byte)) : byte);
      constants.reals[byte] = clamp_to(result, constants.range);
      if (!last) constants.bytes[byte] = std::uint8_t(round_to_range(result, constants.range));
    }
  }
};

}  // namespace

ChannelWindow channel_window(const LocalResponseNorm& norm, int channels) {
  return {std::min((norm.size - 1) / 2, channels - 1), std::min(norm.size / 2, channels - 1)};
}

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
  std::visit(AddTables{network, layer, last, unit, constants}, layer.operation);
  return constants;
}

}  // namespace bitcluster
