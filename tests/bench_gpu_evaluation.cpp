// Images and multiply-accumulates per second on the first GPU, from bytes in host memory to logits in host memory, with
// the CPU backend beside it, and a sensitivity sweep as the layerwise search does it.
#include <functional>

#include "cuda/backend.hpp"
#include "host/base/error.hpp"
#include "host/cpu/backend.hpp"
#include "tests/network_shapes.hpp"

namespace bitcluster {
namespace {

struct Workload {
  std::string name;
  NetworkBuilder (*build)();
};
const Workload workloads[] = {
    {"resnet18", resnet18}, {"resnet50", resnet50}, {"vgg16", vgg16}, {"mobilenet_v2", mobilenet_v2}};

using MakeBackend = std::function<std::unique_ptr<Backend>()>;

void evaluate(benchmark::State& state, const Workload& workload, const MakeBackend& make, int images) {
  try {
    const auto backend = make();
    NetworkBuilder& builder = built(workload.build);
    const IntegerNetwork& network = builder.network();
    backend->load(network);
    const std::vector<std::uint8_t> pixels = builder.images(images);
    std::vector<float> logits(std::size_t(images) * network.network.classes());
    const std::vector<Variant> reference(1);
    backend->evaluate({pixels.data(), images}, reference, logits);  // allocates
    for (auto _ : state) backend->evaluate({pixels.data(), images}, reference, logits);
    state.SetLabel(backend->description());
    report_images(state, network.network, images);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

/// Every layer of ResNet-50 alone with each of four candidates, on 1000 images in tiles as
/// harness/scoring/evaluator.cpp cuts them for one rank. The rates count every variant's images and products, shared
/// ones too.
void sweep(benchmark::State& state) {
  constexpr int candidates = 4, images = 1000, tile = images / 8;
  try {
    const auto backend = make_cuda_backend(0);
    NetworkBuilder& builder = built(resnet50);
    const IntegerNetwork& network = builder.network();
    std::vector<Variant> variants;
    for (const int layer : weighted_layers(network.network)) {
      for (int i = 0; i < candidates; ++i) variants.push_back({{layer, builder.random_weights(layer, 8)}});
    }
    backend->load(network);
    const std::vector<std::uint8_t> pixels = builder.images(images);
    std::vector<float> logits(variants.size() * tile * network.network.classes());
    backend->evaluate({pixels.data(), tile}, variants, logits);  // allocates
    for (auto _ : state) {
      for (int first = 0; first < images; first += tile) {
        backend->evaluate({pixels.data() + first * network.network.input().size(), tile}, variants, logits);
      }
    }
    state.SetLabel(std::to_string(variants.size()) + " variants");
    report_images(state, network.network, int(variants.size()) * images);
  } catch (const Error& error) {
    state.SkipWithError(error.what());
  }
}

const bool registered = [] {
  const auto add = [](const std::string& name, const auto& function, const auto&... arguments) {
    return benchmark::RegisterBenchmark(name.c_str(), function, arguments...)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  };
  constexpr int gpu_batch = 256, cpu_batch = 8;
  for (const Workload& workload : workloads) {
    const MakeBackend gpu = [] { return make_cuda_backend(0); }, cpu = [] { return make_cpu_backend(); };
    add("evaluation/" + workload.name + "/gpu", evaluate, workload, gpu, gpu_batch);
    add("evaluation/" + workload.name + "/cpu", evaluate, workload, cpu, cpu_batch);
  }
  add("evaluation/resnet50_sensitivity/gpu", sweep)->Iterations(1);
  return true;
}();

}  // namespace
}  // namespace bitcluster
