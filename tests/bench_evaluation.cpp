// Images per second and multiply-accumulates per second of integer and float inference, on networks in the shapes of
// well-known ones with random weights. Run: bench_evaluation --benchmark_filter=resnet20

#include <benchmark/benchmark.h>

#include <map>

#include "host/cpu_kernels.hpp"
#include "host/float_network.hpp"
#include "host/parallel.hpp"
#include "tests/network_builder.hpp"

namespace bitcluster {
namespace {

Window square(int kernel, int stride, int pad) {
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
NetworkBuilder resnet20() {
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
NetworkBuilder mobilenet() {
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
NetworkBuilder resnet(std::vector<int> blocks, bool bottleneck) {
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

struct Workload {
  std::string name;
  NetworkBuilder (*build)();
  int images;
};

const Workload workloads[] = {
    {"resnet20", resnet20, 250},
    {"mobilenet_v1_0.75_224", mobilenet, 32},
    {"resnet18_224",
     [] {
       return resnet({2, 2, 2, 2}, false);
     },
     16},
    {"resnet50_224",
     [] {
       return resnet({3, 4, 6, 3}, true);
     },
     16},
};

NetworkBuilder& built(const Workload& workload) {
  static std::map<std::string, NetworkBuilder> networks;
  const auto found = networks.find(workload.name);
  return found != networks.end() ? found->second : networks.emplace(workload.name, workload.build()).first->second;
}

void report(benchmark::State& state, const Network& network, int images) {
  double products = 0;
  for (const int layer : weighted_layers(network)) products += double(multiply_accumulates(network, layer));
  const auto rate = benchmark::Counter::kIsIterationInvariantRate;
  state.counters["images/s"] = benchmark::Counter(images, rate);
  state.counters["GMAC/s"] = benchmark::Counter(products * images * 1e-9, rate);
}

void integer_inference(benchmark::State& state, const Workload& workload, const char* set, int threads) {
  NetworkBuilder& builder = built(workload);
  set_thread_count(threads);
  const auto backend = make_cpu_backend(set);
  backend->load(builder.network());
  const std::vector<std::uint8_t> pixels = builder.images(workload.images);
  std::vector<float> logits(std::size_t(workload.images) * builder.network().network.classes());
  const std::vector<Variant> reference(1);
  for (auto _ : state) backend->evaluate({pixels.data(), workload.images}, reference, logits);
  report(state, builder.network().network, workload.images);
}

void float_inference(benchmark::State& state, const Workload& workload, int threads) {
  NetworkBuilder& builder = built(workload);
  set_thread_count(threads);
  std::vector<float> images;
  for (const std::uint8_t pixel : builder.images(workload.images)) images.push_back(float(pixel) / 128 - 1);
  for (auto _ : state) benchmark::DoNotOptimize(run_float(builder.network().network, images, workload.images));
  report(state, builder.network().network, workload.images);
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
