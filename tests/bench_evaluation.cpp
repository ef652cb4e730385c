// Images per second and multiply-accumulates per second of integer and float inference, on networks in the shapes of
// well-known ones with random weights. Run: bench_evaluation --benchmark_filter=resnet20

#include <benchmark/benchmark.h>

#include "host/base/parallel.hpp"
#include "host/cpu/backend.hpp"
#include "host/cpu/float_network.hpp"
#include "host/cpu/kernels.hpp"
#include "tests/network_shapes.hpp"

namespace bitcluster {
namespace {

struct Workload {
  std::string name;
  NetworkBuilder (*build)();
  int images;
};

const Workload workloads[] = {
    {"resnet20", resnet20, 250},    {"mobilenet_v1_0.75_224", mobilenet, 32}, {"mobilenet_v2_224", mobilenet_v2, 16},
    {"resnet18_224", resnet18, 16}, {"resnet50_224", resnet50, 16},           {"vgg16_224", vgg16, 4},
};

void integer_inference(benchmark::State& state, const Workload& workload, const char* set, int threads) {
  NetworkBuilder& builder = built(workload.build);
  set_thread_count(threads);
  const auto backend = make_cpu_backend(set);
  backend->load(builder.network());
  const std::vector<std::uint8_t> pixels = builder.images(workload.images);
  std::vector<float> logits(std::size_t(workload.images) * builder.network().network.classes());
  const std::vector<Variant> reference(1);
  for (auto _ : state) backend->evaluate({pixels.data(), workload.images}, reference, logits);
  report_images(state, builder.network().network, workload.images);
}

void float_inference(benchmark::State& state, const Workload& workload, int threads) {
  NetworkBuilder& builder = built(workload.build);
  set_thread_count(threads);
  std::vector<float> images;
  for (const std::uint8_t pixel : builder.images(workload.images)) images.push_back(float(pixel) / 128 - 1);
  for (auto _ : state) benchmark::DoNotOptimize(run_float(builder.network().network, images, workload.images));
  report_images(state, builder.network().network, workload.images);
}

/// What one thread can do at most: multiply-accumulates with all operands in registers or the first-level cache, as
/// eight output pixels of very deep kernels.
void peak(benchmark::State& state, const char* set, Arithmetic arithmetic) {
  const Kernels& kernels = *find_kernels(set);
  constexpr int steps = 64, repetitions = 4096, groups = 48;
  const int filters = 2 * kernels.vector_width;
  std::vector<char> weights(std::size_t(steps) * filters * 4 + 64), activations(steps * 4 * 2 + 64);
  const std::vector<std::ptrdiff_t> offsets(repetitions / steps);
  std::vector<const char*> pixels(groups, activations.data());
  const std::vector<std::int32_t> first_outputs(groups), counts(groups), bias(filters);
  const std::vector<float> multipliers(filters, 1.0f);
  std::vector<float> output(2 * filters);
  DenseTask task{};
  task.arithmetic = arithmetic;
  task.pixel_groups = groups;
  task.pixels = pixels.data();
  task.first_outputs = first_outputs.data();
  task.output_counts = counts.data();
  task.pixel_stride = steps * 4;
  task.run_offsets = offsets.data();
  task.runs = 1;
  task.run_steps = steps;
  task.weights = weights.data();
  task.bias = bias.data();
  task.multipliers = multipliers.data();
  task.filters = filters;
  task.output = output.data();
  task.real = true;
  for (auto _ : state) kernels.dense(task);
  const int step_products = arithmetic == Arithmetic::bytes ? 4 : arithmetic == Arithmetic::words ? 2 : 1;
  state.counters["GMAC/s"] = benchmark::Counter(1e-9 * groups * kernels.pixel_group * filters * steps * step_products,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

const bool registered = [] {
  for (const char* set : {"portable", "avx2", "avx512-vnni"}) {
    const Kernels* kernels = find_kernels(set);
    if (!kernels) continue;
    const std::string name = std::string("kernel_limit/") + set;
    if (kernels->has_bytes) benchmark::RegisterBenchmark((name + "/bytes").c_str(), peak, set, Arithmetic::bytes);
    benchmark::RegisterBenchmark((name + "/words").c_str(), peak, set, Arithmetic::words);
    benchmark::RegisterBenchmark((name + "/floats").c_str(), peak, set, Arithmetic::floats);
  }
  for (const Workload& workload : workloads) {
    for (int threads = 1; threads <= thread_count(); threads *= 2) {
      const std::string suffix = "/threads:" + std::to_string(threads);
      for (const char* set : {"portable", "avx2", "avx512-vnni"}) {
        if (!find_kernels(set)) continue;
        benchmark::RegisterBenchmark((workload.name + "/" + set + suffix).c_str(), integer_inference, workload, set,
                                     threads)
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
      benchmark::RegisterBenchmark((workload.name + "/float" + suffix).c_str(), float_inference, workload, threads)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return true;
}();

}  // namespace
}  // namespace bitcluster
