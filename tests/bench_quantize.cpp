#include <benchmark/benchmark.h>

#include <random>

#include "host/cpu/quantize.hpp"
#include "host/weights/format.hpp"
#include "tests/weight_formats.hpp"

namespace bitcluster {
namespace {

/// Layers of ResNet-50 by (filters, weights per filter): first, 3x3 of stage 2 and 5, widest 1x1, classifier.
void quantize_layer_shape(benchmark::State& state) {
  const int filters = int(state.range(0)), size = int(state.range(1));
  const WeightFormat format =
      format_of(8, state.range(3) ? Encoding::signed_digit : Encoding::binary, int(state.range(2)));
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, 0.02f);
  std::vector<float> weights(std::size_t(filters) * size);
  for (float& weight : weights) weight = normal(generator);
  for (auto _ : state) benchmark::DoNotOptimize(quantize(weights, filters, format));
  state.SetItemsProcessed(state.iterations() * std::int64_t(weights.size()));
  state.SetBytesProcessed(state.iterations() * std::int64_t(weights.size() * sizeof(float)));
}
BENCHMARK(quantize_layer_shape)
    ->ArgNames({"filters", "size", "terms", "signed_digit"})
    ->ArgsProduct({{64}, {147, 576}, {0, 2}, {0, 1}})
    ->ArgsProduct({{512}, {4608}, {0, 1, 2, 3}, {0, 1}})
    ->ArgsProduct({{2048}, {512}, {2}, {0, 1}})
    ->ArgsProduct({{1000}, {2048}, {2}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace bitcluster
