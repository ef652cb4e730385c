// How fast layers are emulated with the steps counted on a GPU, and with all threads of the CPU beside it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/device.hpp"
#include "cuda/emulation.hpp"
#include "host/base/parallel.hpp"
#include "tests/emulation_layers.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

struct Case {
  const char* name;
  Accelerator accelerator;
};

/// The arrays of configs/accelerators and of two peers' settings, with memory that never matters.
std::vector<Case> cases() {
  std::vector<Case> list;
  const auto add = [&](const char* name, const char* design, int columns, Encoding encoding = Encoding::binary) {
    Accelerator accelerator = array(design, 16, 16, columns);
    accelerator.encoding = encoding;
    accelerator.first_stage_shift = 2;
    list.push_back({name, accelerator});
    return &list.back().accelerator;
  };
  add("dynamic_stripes", "dynamic_stripes", 8);
  add("loom", "loom", 64);
  add("pragmatic, lockstep", "pragmatic", 8);
  add("pragmatic", "pragmatic", 8)->column_registers = 1;
  add("laconic", "laconic", 64, Encoding::signed_digit);
  Accelerator* dnnsim = add("dnnsim_laconic", "laconic", 16, Encoding::booth_dnnsim);
  dnnsim->peer = Peer::dnnsim;
  dnnsim->tiles = 16;
  add("tactical_p", "tactical_p", 8);
  add("tactical_e", "tactical_e", 8)->column_registers = 1;
  add("bitlet", "bitlet", 16);
  add("bitwave", "bitwave", 8);
  add("bitvert", "bitvert", 8);
  add("pragmatic_weights", "pragmatic_weights", 8);
  return list;
}

/// Best of three after one that warms up, of emulating all the layers [s].
double seconds_of(const Accelerator& accelerator, const std::vector<const LayerTensors*>& layers, StepCounter* counter,
                  std::vector<LayerEmulation>& results) {
  double best = 1e30;
  for (int repeat = 0; repeat < 4; ++repeat) {
    results.clear();
    const auto start = std::chrono::steady_clock::now();
    for (const LayerTensors* layer : layers) results.push_back(emulate(accelerator, *layer, counter));
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (repeat > 0) best = std::min(best, seconds.count());
  }
  return best;
}

int run() {
  const DeviceReport report = find_devices();
  if (report.devices.empty()) {
    std::printf("skipped: no GPU (%s)\n", report.reason.c_str());
    return 0;
  }
  const std::unique_ptr<StepCounter> counter = make_cuda_step_counter();
  std::printf("GPU: %s; CPU: %d threads\n", report.devices[0].c_str(), thread_count());
  std::printf("%-14s %-20s %10s %12s %12s %10s\n", "layers", "design", "GPU ms", "GPU values/s", "products/s",
              "CPU ms");
  std::vector<const LayerTensors*> resnet50;
  for (const auto& layer : resnet50_layers()) resnet50.push_back(&layer->tensors);
  struct Set {
    const char* name;
    std::vector<const LayerTensors*> layers;
  };
  bool same = true;
  for (const Set& set : {Set{"layer_925M", {&large_layer().tensors}}, Set{"fc_4096x4096", {&vector_layer().tensors}},
                         Set{"resnet50", resnet50}}) {
    for (const Case& each : cases()) {
      double values = 0, products = 0;
      for (const LayerTensors* layer : set.layers) {
        const Shape& output = layer->geometry.output;
        values += values_of(each.accelerator, *layer);
        products += double(layer->weights.size()) * output.height * output.width;
      }
      std::vector<LayerEmulation> on_gpu, on_cpu;
      const double gpu = seconds_of(each.accelerator, set.layers, counter.get(), on_gpu);
      const double cpu = seconds_of(each.accelerator, set.layers, nullptr, on_cpu);
      std::printf("%-14s %-20s %10.3f %12.3g %12.3g %10.3f\n", set.name, each.name, gpu * 1e3, values / gpu,
                  products / gpu, cpu * 1e3);
      for (std::size_t i = 0; i < on_gpu.size(); ++i) {
        same = same && on_gpu[i].compute_cycles == on_cpu[i].compute_cycles &&
               std::memcmp(&on_gpu[i].slots, &on_cpu[i].slots, sizeof(Slots)) == 0;
      }
    }
  }
  if (!same) std::printf("GPU and CPU do NOT agree\n");
  return same ? 0 : 1;
}

}  // namespace
}  // namespace bitcluster

int main() { return bitcluster::run(); }
