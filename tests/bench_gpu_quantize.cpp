// Quantization to BitCluster(2) on the GPU beside a copy within its memory, the whole call with the copies from and to
// the host, and the CPU. Bytes are those of the weights (4, read) and values (2, written).
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/quantize.hpp"
#include "host/cpu/quantize.hpp"
#include "tests/weight_formats.hpp"

namespace bitcluster {
namespace {

struct Layer {
  int filters;
  std::vector<float> weights;
  WeightFormat format = format_of(8, Encoding::binary, 2);
};

Layer layer_of(const benchmark::State& state) {
  Layer layer{int(state.range(0)), std::vector<float>(std::size_t(state.range(0) * state.range(1)))};
  layer.format.per_channel = state.range(2) == 0;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 0.02f);
  for (float& weight : layer.weights) weight = normal(generator);
  return layer;
}

bool skips_without_gpu(benchmark::State& state) {
  const DeviceReport report = find_devices();
  if (report.devices.empty()) state.SkipWithError(("no GPU: " + report.reason).c_str());
  return report.devices.empty();
}

void report(benchmark::State& state, const Layer& layer) {
  const auto count = std::int64_t(layer.weights.size());
  state.SetItemsProcessed(state.iterations() * count);
  state.SetBytesProcessed(state.iterations() * count * std::int64_t(sizeof(float) + sizeof(std::int16_t)));
}

/// Weights and values stay on the device. copy_bytes_per_second: read and written by a copy of the weights.
void on_device(benchmark::State& state) {
  if (skips_without_gpu(state)) return;
  const Layer layer = layer_of(state);
  time_quantization(layer.weights, layer.filters, layer.format);  // warms up
  double copy_seconds = 0;
  for (auto _ : state) {
    const QuantizationTimes times = time_quantization(layer.weights, layer.filters, layer.format);
    state.SetIterationTime(times.quantization);
    copy_seconds += times.copy;
  }
  report(state, layer);
  const double copied = 2.0 * sizeof(float) * double(layer.weights.size()) * double(state.iterations());
  state.counters["copy_bytes_per_second"] =
      benchmark::Counter(copied / copy_seconds, benchmark::Counter::kDefaults, benchmark::Counter::kIs1024);
}

void with_transfers(benchmark::State& state) {
  if (skips_without_gpu(state)) return;
  const Layer layer = layer_of(state);
  for (auto _ : state) benchmark::DoNotOptimize(quantize_on_device(layer.weights, layer.filters, layer.format));
  report(state, layer);
}

void on_cpu(benchmark::State& state) {
  const Layer layer = layer_of(state);
  for (auto _ : state) benchmark::DoNotOptimize(quantize(layer.weights, layer.filters, layer.format));
  report(state, layer);
}

/// ResNet-50: first layer, 3x3 of stages 2 and 5, widest 1x1, classifier; fc6 of VGG-16; one scale for a tensor.
void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"filters", "size", "per_tensor"})->Unit(benchmark::kMillisecond);
  benchmark->Args({64, 147, 0})->Args({64, 576, 0})->Args({512, 4608, 0})->Args({2048, 512, 0})->Args({1000, 2048, 0});
  benchmark->Args({4096, 25088, 0})->Args({512, 4608, 1});
}
BENCHMARK(on_device)->Apply(shapes)->UseManualTime();
BENCHMARK(with_transfers)->Apply(shapes)->UseRealTime();
BENCHMARK(on_cpu)->Apply(shapes)->UseRealTime();

}  // namespace
}  // namespace bitcluster
