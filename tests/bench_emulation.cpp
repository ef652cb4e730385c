// How fast layers are emulated: the counter `values` is operands walked per second (weights, and activations where the
// design reads them), `products` the layer's products per second.
#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "host/emulator.hpp"
#include "host/parallel.hpp"

namespace bitcluster {
namespace {

Accelerator shipped(const std::string& file) {
  return load_accelerator(std::string(BITCLUSTER_SOURCE_DIR) + "/configs/accelerators/" + file + ".toml");
}

struct RandomLayer {
  LayerTensors tensors;
  std::vector<std::int16_t> weights, activations;

  RandomLayer(int filters, int channels, int map, int kernel, int stride) {
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
    for (auto& weight : weights) weight = std::int16_t(int(random() % 255) - 127);
    activations.resize(geometry.input.size());
    for (auto& activation : activations) activation = std::int16_t(random() % 256);
    tensors.weights = weights;
    tensors.activations = activations;
    tensors.weight_format.terms = 7;
  }
  RandomLayer(const RandomLayer&) = delete;
};

// VGG-16 conv3_1 at twice its channels: 925 M products
void emulate_large_layer(benchmark::State& state, const std::string& design, int encoding) {
  static const RandomLayer layer(256, 128, 56, 3, 1);
  Accelerator accelerator = shipped(design);
  accelerator.encoding = Encoding(encoding);
  for (auto _ : state) benchmark::DoNotOptimize(emulate(accelerator, layer.tensors));
  const double values =
      double(layer.weights.size()) + (needs_activations(accelerator.design) ? double(layer.activations.size()) : 0);
  state.counters["values"] = benchmark::Counter(values, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["products"] =
      benchmark::Counter(double(layer.weights.size()) * 56 * 56, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(emulate_large_layer, bit_parallel, "bit_parallel", 0)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_large_layer, stripes, "stripes", 0)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_large_layer, bitcluster, "bitcluster", 0)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_large_layer, pragmatic_binary, "pragmatic_weights", 0)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_large_layer, pragmatic_signed_digit, "pragmatic_weights", 1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_large_layer, laconic_binary, "laconic", 0)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_large_layer, laconic_signed_digit, "laconic", 1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// The layers of ResNet-50 (He et al., CVPR 2016, table 1), downsampling in the 3x3 convolutions
void emulate_resnet50(benchmark::State& state, const std::string& design) {
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
    list.back()->tensors.geometry.fully_connected = true;
    return list;
  }();
  const Accelerator accelerator = shipped(design);
  double weights = 0;
  for (const auto& layer : layers) weights += double(layer->weights.size());
  for (auto _ : state) {
    for (const auto& layer : layers) benchmark::DoNotOptimize(emulate(accelerator, layer->tensors));
  }
  state.counters["values"] = benchmark::Counter(weights, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(emulate_resnet50, pragmatic, "pragmatic_weights")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_resnet50, bitcluster, "bitcluster")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(emulate_resnet50, laconic, "laconic")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bitcluster
