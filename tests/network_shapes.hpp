#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <utility>
#include <vector>

#include "tests/network_builder.hpp"

namespace bitcluster {

// Networks in the shapes of well-known ones, with random weights, for benchmarks. Activations are clamped at zero or
// not at all: speed does not depend on other bounds.

inline Window square(int kernel, int stride, int pad) {
  return {.kernel_h = kernel,
          .kernel_w = kernel,
          .stride_h = stride,
          .stride_w = stride,
          .pad_top = pad,
          .pad_left = pad,
          .pad_bottom = pad,
          .pad_right = pad};
}

/// He et al., Deep Residual Learning, table 6: three stages of 16, 32, 64 channels on 32 x 32 (projection shortcuts).
inline NetworkBuilder resnet20() {
  NetworkBuilder builder(1, {3, 32, 32});
  int layer = builder.convolution(0, 16, square(3, 1, 1));
  for (int stage = 0; stage < 3; ++stage) {
    for (int block = 0; block < 3; ++block) {
      const int filters = 16 << stage, stride = stage > 0 && block == 0 ? 2 : 1;
      const int first = builder.convolution(layer, filters, square(3, stride, 1));
      const int second = builder.convolution(first, filters, square(3, 1, 1), 1, 8, true);
      const int shortcut = stride == 1 ? layer : builder.convolution(layer, filters, square(1, stride, 0), 1, 8, true);
      layer = builder.add_relu(second, shortcut);
    }
  }
  builder.fully_connected(builder.global_average(layer), 10);
  return builder;
}

/// Howard et al., MobileNets, table 1, with a width multiplier of 0.75.
inline NetworkBuilder mobilenet() {
  NetworkBuilder builder(1, {3, 224, 224});
  int layer = builder.convolution(0, 24, square(3, 2, 1));
  const std::pair<int, int> blocks[] = {{48, 1},  {96, 2},  {96, 1},  {192, 2}, {192, 1}, {384, 2}, {384, 1},
                                        {384, 1}, {384, 1}, {384, 1}, {384, 1}, {768, 2}, {768, 1}};
  for (const auto& [filters, stride] : blocks) {
    const int channels = builder.shape(layer).channels;
    layer = builder.convolution(layer, channels, square(3, stride, 1), channels);
    layer = builder.convolution(layer, filters, {});
  }
  builder.fully_connected(builder.global_average(layer), 1000);
  return builder;
}

/// He et al., table 1: blocks of two 3 x 3 (ResNet-18) or of 1 x 1, 3 x 3, 1 x 1 with four times the filters
/// (ResNet-50).
inline NetworkBuilder resnet(std::vector<int> blocks, bool bottleneck) {
  NetworkBuilder builder(1, {3, 224, 224});
  int layer = builder.pool(builder.convolution(0, 64, square(7, 2, 3)), Pool::Kind::max, square(3, 2, 1));
  for (int stage = 0; stage < 4; ++stage) {
    for (int block = 0; block < blocks[stage]; ++block) {
      const int width = 64 << stage, filters = bottleneck ? 4 * width : width;
      const int stride = stage > 0 && block == 0 ? 2 : 1;
      int branch;
      if (bottleneck) {
        branch = builder.convolution(builder.convolution(layer, width, {}), width, square(3, stride, 1));
        branch = builder.convolution(branch, filters, {}, 1, 8, true);
      } else {
        branch = builder.convolution(layer, filters, square(3, stride, 1));
        branch = builder.convolution(branch, filters, square(3, 1, 1), 1, 8, true);
      }
      const int shortcut = builder.shape(layer) == builder.shape(branch)
                               ? layer
                               : builder.convolution(layer, filters, square(1, stride, 0), 1, 8, true);
      layer = builder.add_relu(branch, shortcut);
    }
  }
  builder.fully_connected(builder.global_average(layer), 1000);
  return builder;
}

inline NetworkBuilder resnet18() { return resnet({2, 2, 2, 2}, false); }
inline NetworkBuilder resnet50() { return resnet({3, 4, 6, 3}, true); }

/// Simonyan and Zisserman, Very Deep Convolutional Networks, table 1, configuration D.
inline NetworkBuilder vgg16() {
  NetworkBuilder builder(1, {3, 224, 224});
  int layer = 0;
  for (const auto& [filters, count] : {std::pair{64, 2}, {128, 2}, {256, 3}, {512, 3}, {512, 3}}) {
    for (int i = 0; i < count; ++i) layer = builder.convolution(layer, filters, square(3, 1, 1));
    layer = builder.pool(layer, Pool::Kind::max, square(2, 2, 0));
  }
  for (const int outputs : {4096, 4096, 1000}) layer = builder.fully_connected(layer, outputs);
  return builder;
}

/// Sandler et al., MobileNetV2, table 2.
inline NetworkBuilder mobilenet_v2() {
  struct Row {
    int expansion, filters, blocks, stride;
  };
  NetworkBuilder builder(1, {3, 224, 224});
  int layer = builder.convolution(0, 32, square(3, 2, 1));
  for (const Row& row :
       {Row{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}) {
    for (int block = 0; block < row.blocks; ++block) {
      const int width = row.expansion * builder.shape(layer).channels;
      int branch = row.expansion == 1 ? layer : builder.convolution(layer, width, {});
      branch = builder.convolution(branch, width, square(3, block == 0 ? row.stride : 1, 1), width);
      branch = builder.convolution(branch, row.filters, {}, 1, 8, true);  // linear bottleneck
      layer = builder.shape(branch) == builder.shape(layer) ? builder.add(layer, branch) : branch;
    }
  }
  layer = builder.convolution(layer, 1280, {});
  builder.fully_connected(builder.global_average(layer), 1000);
  return builder;
}

/// The network of one of these functions, built when first asked for.
inline NetworkBuilder& built(NetworkBuilder (*build)()) {
  static std::map<NetworkBuilder (*)(), NetworkBuilder> networks;
  const auto found = networks.find(build);
  return found != networks.end() ? found->second : networks.emplace(build, build()).first->second;
}

/// Multiply-accumulates of one image.
inline double products_of(const Network& network) {
  double products = 0;
  for (const int layer : weighted_layers(network)) products += double(multiply_accumulates(network, layer));
  return products;
}

/// Images and multiply-accumulates per second, for `images` images per iteration.
inline void report_images(benchmark::State& state, const Network& network, int images) {
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["images/s"] = benchmark::Counter(images, rate);
  state.counters["GMAC/s"] = benchmark::Counter(products_of(network) * images * 1e-9, rate);
}

}  // namespace bitcluster
