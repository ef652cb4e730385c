// How fast layers are emulated by every design and in every peer's setting.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
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

/// Bytes that all threads together read per second from a buffer beyond the caches: what limits a walk over values.
double read_bandwidth() {
  static const double bandwidth = [] {
    const std::vector<std::int16_t> buffer(std::size_t(1) << 28, 1);
    const long parts = 64, size = long(buffer.size()) / parts;
    std::vector<long> sums(parts);
    double best = 0;
    for (int repeat = 0; repeat < 5; ++repeat) {
      const auto start = std::chrono::steady_clock::now();
      parallel_for(parts, [&](long part, int) {
        int sum = 0;
        for (long i = part * size; i < (part + 1) * size; ++i) sum += buffer[i];
        sums[part] = sum;
      });
      benchmark::DoNotOptimize(sums.data());
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::max(best, double(buffer.size()) * sizeof buffer[0] / seconds.count());
    }
    return best;
  }();
  return bandwidth;
}

/// Operands that a design looks at.
double values_of(const Accelerator& accelerator, const LayerTensors& layer) {
  const bool weights = serial_on_weights(accelerator.design) || accelerator.design == Design::laconic ||
                       accelerator.design == Design::tactical_p || accelerator.design == Design::tactical_e;
  const bool activations = looks_at_activations(accelerator.design);
  return (weights ? double(layer.weights.size()) : 0) + (activations ? double(layer.geometry.input.size()) : 0);
}

/// `values`: walked per second; `bandwidth`: share of the read bandwidth that their 16 bits take.
void count_values(benchmark::State& state, double values) {
  state.counters["values"] = benchmark::Counter(values, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["bandwidth"] = benchmark::Counter(values * sizeof(std::int16_t) / read_bandwidth(),
                                                   benchmark::Counter::kIsIterationInvariantRate);
}

/// `products`: of the layer, per second.
void emulate_layer(benchmark::State& state, const std::string& design, const LayerTensors& layer) {
  const Accelerator accelerator = shipped(design);
  for (auto _ : state) benchmark::DoNotOptimize(emulate(accelerator, layer));
  count_values(state, values_of(accelerator, layer));
  const std::int64_t pixels = std::int64_t(layer.geometry.output.height) * layer.geometry.output.width;
  state.counters["products"] =
      benchmark::Counter(double(layer.weights.size()) * double(pixels), benchmark::Counter::kIsIterationInvariantRate);
}

const std::vector<std::string> designs = {"bit_parallel", "stripes",           "dynamic_stripes", "loom",   "pragmatic",
                                          "tactical_p",   "tactical_e",        "laconic",         "bitlet", "bitwave",
                                          "bitvert",      "pragmatic_weights", "bitcluster"};
const std::vector<std::string> peers = {"dnnsim_dadiannao", "dnnsim_stripes",   "dnnsim_dynamic_stripes",
                                        "dnnsim_loom",      "dnnsim_pragmatic", "dnnsim_pragmatic_booth_cr1",
                                        "dnnsim_laconic",   "dnnsim_tcle",      "bitsim_stripes",
                                        "bitsim_pragmatic", "bitsim_bitlet",    "bitsim_bitvert",
                                        "bitsim_bitwave"};

const RandomLayer& large_layer() {  // 925 M products
  static const RandomLayer layer(256, 128, 56, 3, 1);
  return layer;
}

const RandomLayer& sparse_layer() {  // the same, half of the weights zero
  static const RandomLayer layer(256, 128, 56, 3, 1, 50);
  return layer;
}

const RandomLayer& vector_layer() {
  static const RandomLayer layer(4096, 4096, 1, 1, 1);
  return layer;
}

// The layers of ResNet-50 (He et al., CVPR 2016, table 1), downsampling in the 3x3 convolutions
void emulate_resnet50(benchmark::State& state, const std::vector<std::string>& designs) {
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
  double values = 0;
  for (const std::string& design : designs) {
    const Accelerator accelerator = shipped(design);
    for (const auto& layer : layers) values += values_of(accelerator, layer->tensors);
  }
  for (auto _ : state) {
    for (const std::string& design : designs) {
      const Accelerator accelerator = shipped(design);
      for (const auto& layer : layers) benchmark::DoNotOptimize(emulate(accelerator, layer->tensors));
    }
  }
  count_values(state, values);
}

void register_all() {
  const auto add = [](const std::string& name, auto&& run) {
    benchmark::RegisterBenchmark(name.c_str(), run)->UseRealTime()->Unit(benchmark::kMillisecond);
  };
  struct Case {
    std::string name;
    const RandomLayer& (*layer)();
  };
  for (const auto& [name, layer] : {Case{"layer_925M", large_layer}, Case{"layer_925M_half_zero", sparse_layer},
                                    Case{"fc_4096x4096", vector_layer}}) {
    for (const std::string& design : designs) {
      add(name + "/" + design,
          [design, layer = layer](benchmark::State& state) { emulate_layer(state, design, layer().tensors); });
    }
    for (const std::string& peer : peers) {
      add(name + "/" + peer,
          [peer, layer = layer](benchmark::State& state) { emulate_layer(state, "peers/" + peer, layer().tensors); });
    }
  }
  for (const std::string& design : designs) {
    add("resnet50/" + design, [design](benchmark::State& state) { emulate_resnet50(state, {design}); });
  }
  std::vector<std::string> on_weights, others;
  for (const std::string& design : designs) {
    (serial_on_weights(shipped(design).design) ? on_weights : others).push_back(design);
  }
  add("resnet50/serial_on_weights", [on_weights](benchmark::State& state) { emulate_resnet50(state, on_weights); });
  add("resnet50/others", [others](benchmark::State& state) { emulate_resnet50(state, others); });
}

}  // namespace
}  // namespace bitcluster

int main(int argc, char** argv) {
  bitcluster::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::AddCustomContext("read bandwidth [GB/s]", std::to_string(bitcluster::read_bandwidth() * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
}
