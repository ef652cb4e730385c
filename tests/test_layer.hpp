#pragma once

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "host/emulation/emulator.hpp"

namespace bitcluster {

/// An array whose memory never matters.
inline Accelerator array(std::string_view design, int lanes, int rows, int columns, int tiles = 1) {
  Accelerator accelerator;
  accelerator.name = "test";
  accelerator.design = &design_named(design);
  accelerator.lanes = lanes;
  accelerator.rows = rows;
  accelerator.columns = columns;
  accelerator.tiles = tiles;
  accelerator.weight_buffer = accelerator.activation_buffer = 1 << 30;
  accelerator.off_chip_gbyte_per_s = 1e9;
  return accelerator;
}

/// The name of a design as one of a test: "bit_parallel" is BitParallel.
inline std::string camel_case(std::string_view design) {
  std::string name;
  bool upper = true;
  for (const char letter : design) {
    if (letter != '_') name += upper ? char(std::toupper(letter)) : letter;
    upper = letter == '_';
  }
  return name;
}

/// A layer that owns its values.
struct TestLayer {
  LayerGeometry geometry;
  WeightFormat format;
  std::vector<std::int16_t> weights, activations;
  int activation_bits = 8;

  LayerTensors tensors() const {
    LayerTensors tensors;
    tensors.geometry = geometry;
    tensors.weights = weights;
    tensors.weight_format = format;
    tensors.activations = activations;
    tensors.activation_bits = activation_bits;
    tensors.activations_signed =
        std::any_of(activations.begin(), activations.end(), [](std::int16_t a) { return a < 0; });
    return tensors;
  }
};

inline TestLayer make_layer(int filters, Shape input, Window window = {}, int groups = 1,
                            bool fully_connected = false) {
  TestLayer layer;
  layer.geometry.name = "layer";
  layer.geometry.fully_connected = fully_connected;
  layer.geometry.filters = filters;
  layer.geometry.groups = groups;
  layer.geometry.input = input;
  layer.geometry.window = window;
  const auto extent = [](int size, int kernel, int stride, int dilation, int pads) {
    return (size + pads - dilation * (kernel - 1) - 1) / stride + 1;
  };
  layer.geometry.output = {
      filters,
      extent(input.height, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top + window.pad_bottom),
      extent(input.width, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left + window.pad_right)};
  layer.weights.assign(std::size_t(filters) * (input.channels / groups) * window.kernel_h * window.kernel_w, 0);
  layer.activations.assign(input.size(), 0);
  layer.format.terms = 7;
  return layer;
}

}  // namespace bitcluster
