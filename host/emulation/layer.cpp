#include "host/emulation/layer.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "host/base/error.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/vectorised.hpp"

namespace bitcluster {
namespace {

/// The least and the greatest value, and zero.
BITCLUSTER_VECTORISED
std::pair<std::int16_t, std::int16_t> extremes(const std::int16_t* values, std::size_t count) {
  std::int16_t least = 0, greatest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    least = std::min(least, values[i]);
    greatest = std::max(greatest, values[i]);
  }
  return {least, greatest};
}

void check_weight_range(const Accelerator& accelerator, const LayerTensors& layer, int lowest, int highest) {
  const auto [least, greatest] = extremes(layer.weights.data(), layer.weights.size());
  if (least >= lowest && greatest <= highest) return;
  const int outside = least < lowest ? least : greatest;
  reject_layer(accelerator, layer, fmt::format("weight {} is outside {}..{}", outside, lowest, highest),
               "quantize the weights to fewer bits");
}

}  // namespace

LayerGeometry layer_geometry(const Network& network, int layer) {
  const Layer& node = network.layers.at(std::size_t(layer));
  const auto* convolution = std::get_if<Convolution>(&node.operation);
  if (!convolution) {
    throw Error(fmt::format("layer '{}' cannot be emulated", node.name), "it has no weights",
                "take the indices from weighted_layers()");
  }
  LayerGeometry geometry;
  geometry.name = node.name;
  geometry.fully_connected = convolution->fully_connected;
  geometry.filters = convolution->filters;
  geometry.groups = convolution->groups;
  geometry.window = convolution->window;
  geometry.input = network.layers.at(std::size_t(node.inputs.at(0))).output;
  geometry.output = node.output;
  return geometry;
}

std::int64_t pixels_of(const LayerGeometry& geometry) {
  return geometry.fully_connected ? 1 : std::int64_t(geometry.output.height) * geometry.output.width;
}

void check_layer(const Accelerator& accelerator, const LayerTensors& layer) {
  if (const auto fault = fault_of(accelerator)) {
    throw Error(fmt::format("accelerator '{}' cannot be emulated", accelerator.name),
                fmt::format("{}: {}", fault->key, fault->why), fault->what_to_do);
  }
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const auto reject = [&](const std::string& why, const std::string& what_to_do) {
    throw Error(fmt::format("layer '{}' cannot be emulated", g.name), why, what_to_do);
  };
  if (g.input.height < 1 || g.input.width < 1) reject("its input has no pixels", "correct the input shape");
  if (g.groups < 1 || g.filters < 1 || g.input.channels < 1 || g.filters % g.groups || g.input.channels % g.groups) {
    reject(fmt::format("its {} filters and {} channels do not divide into {} groups", g.filters, g.input.channels,
                       g.groups),
           "correct the groups");
  }
  if (w.kernel_h < 1 || w.kernel_w < 1 || w.stride_h < 1 || w.stride_w < 1 || w.dilation_h < 1 || w.dilation_w < 1 ||
      w.pad_top < 0 || w.pad_left < 0 || w.pad_bottom < 0 || w.pad_right < 0) {
    reject("kernel, stride or dilation is below 1, or padding below 0", "correct the window");
  }
  using Wide = std::int64_t;  // products of two ints, however wrong they are
  const auto extent = [](Wide input, Wide kernel, Wide stride, Wide dilation, Wide pads) {
    const Wide left = input + pads - dilation * (kernel - 1) - 1;
    return left < 0 ? 0 : left / stride + 1;
  };
  const Wide height = extent(g.input.height, w.kernel_h, w.stride_h, w.dilation_h, Wide(w.pad_top) + w.pad_bottom);
  const Wide width = extent(g.input.width, w.kernel_w, w.stride_w, w.dilation_w, Wide(w.pad_left) + w.pad_right);
  if (g.output.channels != g.filters || g.output.height != height || g.output.width != width || height * width == 0) {
    reject("its window does not give its output shape", "correct the shapes");
  }
  if (g.fully_connected && (g.groups != 1 || w.kernel_h != g.input.height || w.kernel_w != g.input.width ||
                            height != 1 || width != 1 || w.dilation_h != 1 || w.dilation_w != 1 || w.pad_top != 0 ||
                            w.pad_left != 0 || w.pad_bottom != 0 || w.pad_right != 0)) {
    reject("it is fully connected but its kernel does not cover its input", "describe it as a convolution");
  }
  if (layer.weights.size() != std::size_t(g.filters) * g.channels_per_group() * w.kernel_h * w.kernel_w) {
    reject("the number of weights does not fit its shape", "give (filters, channels / groups, kernel_h, kernel_w)");
  }
  if (!layer.activations.empty() && layer.activations.size() != g.input.size()) {
    reject("the number of activations does not fit its input", "give one image, (channels, h, w)");
  }
  // a sign and 16 bits hold any int16
  if (layer.activation_bits < 1 || layer.activation_bits > 17 || layer.weight_format.bits < 1 ||
      layer.weight_format.bits > 17) {
    reject(fmt::format("its values have {} and {} bits (activations, weights)", layer.activation_bits,
                       layer.weight_format.bits),
           "give 1 to 17");
  }
  if (layer.activations.empty() && accelerator.design->needs_activations()) {
    reject(fmt::format("the cycles of {} depend on the activations and there are none", accelerator.name),
           "give activations or leave this design out");
  }
}

void reject_layer(const Accelerator& accelerator, const LayerTensors& layer, const std::string& why,
                  const std::string& what_to_do) {
  throw Error(fmt::format("layer '{}' cannot run on {}", layer.geometry.name, accelerator.name), why, what_to_do);
}

void check_weight_bits(const Accelerator& accelerator, const LayerTensors& layer, int bits) {
  check_weight_range(accelerator, layer, -(1 << (bits - 1)), (1 << (bits - 1)) - 1);
}

void check_magnitudes(const Accelerator& accelerator, const LayerTensors& layer, int bits) {
  check_weight_range(accelerator, layer, -((1 << bits) - 1), (1 << bits) - 1);
}

void check_signs(const Accelerator& accelerator, const LayerTensors& layer) {
  if (!layer.activations_signed && extremes(layer.activations.data(), layer.activations.size()).first < 0) {
    reject_layer(accelerator, layer, "its activations are said to be unsigned and some are negative",
                 "set activations_signed");
  }
}

}  // namespace bitcluster
