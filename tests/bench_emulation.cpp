#include "host/data/accelerator_file.hpp"
// How fast layers are emulated by every design and in every peer's setting.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/emulation_layers.hpp"

namespace bitcluster {
namespace {

Accelerator shipped(const std::string& file) {
  return load_accelerator(std::string(BITCLUSTER_SOURCE_DIR) + "/configs/accelerators/" + file + ".toml");
}

/// Bytes that all threads together read per second from a buffer beyond the caches: what limits a look at all values.
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

/// `values`: looked at per second; `bandwidth`: share of the read bandwidth that their 16 bits take.
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

void emulate_resnet50(benchmark::State& state, const std::vector<std::string>& designs) {
  const auto& layers = resnet50_layers();
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
    (serial_on_weights(*shipped(design).design) ? on_weights : others).push_back(design);
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
