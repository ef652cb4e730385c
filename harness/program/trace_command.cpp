#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "harness/program/commands.hpp"
#include "harness/program/input_files.hpp"
#include "harness/program/results_output.hpp"
#include "harness/ranks/devices.hpp"
#include "harness/ranks/progress.hpp"
#include "harness/study/emulation_list.hpp"
#include "host/base/error.hpp"
#include "host/data/accelerator_file.hpp"
#include "host/data/trace.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/shift_and_add.hpp"
#include "host/files/posix_file.hpp"
#include "host/results/build_rows.hpp"
#include "host/results/report.hpp"
#include "host/results/summary.hpp"

namespace bitcluster {
namespace {

/// Whether --check can do a layer's arithmetic.
bool has_function(const Accelerator& accelerator, const TraceLayer& layer) {
  return has_arithmetic(accelerator) && layer.images > 0;
}

/// How many layers on how many accelerators --check looks at. Error if there are none.
int count_checks(const std::vector<Accelerator>& accelerators, const std::vector<TraceLayer>& layers) {
  int checks = 0;
  for (const Accelerator& accelerator : accelerators) {
    for (const TraceLayer& layer : layers) checks += has_function(accelerator, layer);
  }
  if (checks > 0) return checks;
  throw Error("--check has no effect",
              "no layer of the trace has activations, or no design an arithmetic of its own, to do it on",
              "add the dataset activations, or leave the option out");
}

/// Error if the design's own arithmetic does not give the convolution, or takes other cycles than were counted.
void check_function(const Accelerator& accelerator, const LayerTensors& layer, const LayerEmulation& emulation) {
  const LayerFunction function = emulate_function(accelerator, layer);
  const bool right_sums = function.sums == convolve(layer);
  if (right_sums && function.compute_cycles == emulation.compute_cycles) return;
  throw Error("layer '" + layer.geometry.name + "' on " + accelerator.name,
              right_sums ? fmt::format("functional mode took {} cycles where {} were counted", function.compute_cycles,
                                       emulation.compute_cycles)
                         : "the sums of functional mode are not the convolution's",
              "report this as an error of the emulator, with the trace");
}

/// Every layer on every accelerator.
EmulationList list_trace(const TraceOptions& options, const std::string& name, const std::vector<TraceLayer>& layers,
                         const Basis& basis) {
  EmulationList list;
  for (const Accelerator& accelerator : basis.accelerators) {
    for (int layer = 0; layer < int(layers.size()); ++layer) {
      const std::string& layer_name = layers[layer].geometry.name;
      if (accelerator.design->needs_activations() && layers[layer].images == 0) {
        throw Error("'" + options.trace + "': layer " + layer_name,
                    "it has no activations, and " + accelerator.name + " depends on their values",
                    "add the dataset activations, or leave that design out");
      }
      list.add({.model = name,
                .assignment = "trace",
                .basis = basis.name,
                .accelerator = accelerator.name,
                .layer = layer_name},
               {.accelerator = &accelerator, .layer = layer}, std::max(1, layers[layer].images));
    }
  }
  return list;
}

/// Layer by layer and image by image: consecutive tasks share what is read from the file.
std::vector<std::size_t> file_order(const EmulationList& list) {
  std::vector<std::size_t> order(list.tasks.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  const auto place = [&](std::size_t i) { return std::pair(list.tasks[i].layer, std::max(0, list.tasks[i].image)); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
  return order;
}

}  // namespace

void emulate_trace(const Ranks& ranks, const TraceOptions& options) {
  InputFiles files(ranks);
  files.add("trace", options.trace);
  for (const std::string& path : options.designs) files.add_accelerator(path);
  const Basis basis{throughput_basis, load_accelerators(options.designs)};
  check_input(options.trace);
  const Devices devices = make_devices(ranks, options.backend);
  Results results = start_results(ranks, options.output, devices.backends[0]->description());
  results.inputs = files.rows();
  Trace trace(options.trace);
  const std::string name = std::filesystem::path(options.trace).stem().string();
  const int checks = options.check ? count_checks(basis.accelerators, trace.layers()) : 0;
  const EmulationList list = list_trace(options, name, trace.layers(), basis);
  const EmulationWork work(
      list, file_order(list), std::vector<double>(list.tasks.size(), 1.0), [&](const EmulationTask& task) {
        const LayerTensors tensors = trace.tensors(task.layer, std::max(0, task.image));
        const LayerEmulation emulation = emulate(*task.accelerator, tensors, devices.step_counter.get());
        const bool checks_it = options.check && has_function(*task.accelerator, trace.layers()[task.layer]);
        if (checks_it) check_function(*task.accelerator, tensors, emulation);
        return emulation;
      });
  Progress progress(ranks.root(), name + ": emulate", double(list.tasks.size()));
  TaskList tasks = work.tasks();
  tasks.done = [&](double done) { progress.update(done); };
  const std::vector<LayerEmulation> sums = work.sums(ranks.distribute(tasks));
  for (std::size_t row = 0; row < sums.size(); ++row) {
    results.emulation.push_back(emulation_row(list.rows[row], sums[row]));
  }
  for (const Accelerator& accelerator : basis.accelerators) {
    results.accelerators.push_back(accelerator_row(basis.name, accelerator));
  }
  summarize(results);
  files.check_unchanged();
  finish_results(ranks, options.output, results);
  if (ranks.root() && options.check) {
    fmt::print(stderr, "bitcluster: checked {} of {} pairs of a layer and an accelerator: sums and cycles agree\n",
               checks, basis.accelerators.size() * trace.layers().size());
  }
  if (ranks.root()) fmt::print("{}", format_summary(results, TableFormat::text));
}

}  // namespace bitcluster
