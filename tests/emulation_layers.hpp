#pragma once

// Layers of random values that the benchmarks of emulation share.

#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string_view>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"

namespace bitcluster {

struct RandomLayer {
  LayerTensors tensors;
  std::vector<std::int16_t> weights, activations;

  RandomLayer(int filters, int channels, int map, int kernel, int stride, unsigned zeros_percent = 0) {
    LayerGeometry& geometry = tensors.geometry;
    geometry.name = "random";
    geometry.filters = filters;
    geometry.input = {channels, map, map};
    geometry.window.kernel_h = geometry.window.kernel_w = kernel;
    geometry.window.stride_h = geometry.window.stride_w = stride;
    geometry.window.pad_top = geometry.window.pad_left = geometry.window.pad_bottom = geometry.window.pad_right =
        kernel / 2;
    const int size = (map + 2 * (kernel / 2) - kernel) / stride + 1;
    geometry.output = {filters, size, size};
    std::mt19937 random(1);
    weights.resize(std::size_t(filters) * channels * kernel * kernel);
    for (auto& weight : weights) {
      weight = std::int16_t(int(random() % 255) - 127);
      if (random() % 100 < zeros_percent) weight = 0;
    }
    geometry.fully_connected = map == 1 && kernel == 1;
    activations.resize(geometry.input.size());
    for (auto& activation : activations) activation = std::int16_t(random() % 256);
    tensors.weights = weights;
    tensors.activations = activations;
    tensors.weight_format.terms = 7;
  }
  RandomLayer(const RandomLayer&) = delete;
};

/// Whether a design is serial on weights alone, so that its cycles are the same for all pixels.
inline bool serial_on_weights(const DesignInfo& design) {
  static const std::set<std::string_view> names = {"pragmatic_weights", "bitlet", "bitwave", "bitvert", "bitcluster"};
  return names.contains(design.name);
}

/// Operands that a design looks at.
inline double values_of(const Accelerator& accelerator, const LayerTensors& layer) {
  static const std::set<std::string_view> serial_on_both = {"laconic", "tactical_p", "tactical_e"};
  const DesignInfo& design = *accelerator.design;
  const bool weights = serial_on_weights(design) || serial_on_both.contains(design.name);
  return (weights ? double(layer.weights.size()) : 0) +
         (design.looks_at_activations() ? double(layer.geometry.input.size()) : 0);
}

inline const RandomLayer& large_layer() {  // 925 M products
  static const RandomLayer layer(256, 128, 56, 3, 1);
  return layer;
}

inline const RandomLayer& sparse_layer() {  // the same, half of the weights zero
  static const RandomLayer layer(256, 128, 56, 3, 1, 50);
  return layer;
}

inline const RandomLayer& vector_layer() {
  static const RandomLayer layer(4096, 4096, 1, 1, 1);
  return layer;
}

/// The layers of ResNet-50 (He et al., CVPR 2016, table 1), downsampling in the 3x3 convolutions.
inline const std::vector<std::unique_ptr<RandomLayer>>& resnet50_layers() {
  static const std::vector<std::unique_ptr<RandomLayer>> layers = [] {
    std::vector<std::unique_ptr<RandomLayer>> list;
    const auto add = [&](int filters, int channels, int map, int kernel, int stride) {
      list.push_back(std::make_unique<RandomLayer>(filters, channels, map, kernel, stride));
    };
    add(64, 3, 224, 7, 2);
    const int blocks[] = {3, 4, 6, 3};
    int channels = 64, map = 56;
    for (int stage = 0; stage < 4; ++stage) {
      const int width = 64 << stage;
      for (int block = 0; block < blocks[stage]; ++block) {
        const int stride = stage > 0 && block == 0 ? 2 : 1;
        add(width, channels, map, 1, 1);
        add(width, width, map, 3, stride);
        if (block == 0) add(4 * width, channels, map, 1, stride);
        map /= stride;
        add(4 * width, width, map, 1, 1);
        channels = 4 * width;
      }
    }
    add(1000, 2048, 1, 1, 1);
    return list;
  }();
  return layers;
}

}  // namespace bitcluster
