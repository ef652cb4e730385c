#include "harness/plan/plan.hpp"

#include <fmt/core.h>
#include <omp.h>

#include <algorithm>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/base/printable.hpp"

namespace bitcluster {
namespace {

Overheads measure_overheads(const Ranks& ranks) {
  if (ranks.size() == 1) return assumed_overheads;
  constexpr long tasks = 2000;
  const auto empty = [](long) { return Payload(); };
  const double seconds = seconds_of([&] { ranks.distribute({tasks, empty, {}, {}, {}, {}}); }, &ranks);
  return {assumed_overheads.message, seconds / double(tasks)};
}

void print_row(const std::string& name, int ranks, double one_rank, const Prediction& p, int ranks_per_node) {
  fmt::print("{:<12} {:6} {:11.1f} {:6.1f} {:8.1f} {:9.1f} {:9.1f} {:9.1f} {:9.1f} {:8} {:8.2f} {:8.1f}\n",
             printable(name), ranks, p.wall(), 100 * one_rank / (ranks * p.wall()), p.serial, p.baseline, p.first,
             p.probes, p.test, p.tasks, p.bytes * 1e-9, p.bytes * 1e-9 * std::min(ranks, ranks_per_node));
}

/// Those that a study emulates, each once.
std::vector<Accelerator> emulated(const PlannedStudy& study) {
  if (!study.bases.empty()) return study.bases[0].accelerators;
  std::vector<Accelerator> accelerators;
  for (const Config::Candidates* candidates : searches_of(study)) {
    accelerators.push_back(*find_design(study.searched, candidates->preparation->design));
  }
  return accelerators;
}

}  // namespace

void plan(const Ranks& ranks, const PlannedStudy& study, const std::string& backend,
          const std::vector<int>& rank_counts) {
  const Devices devices = make_devices(ranks, backend);
  const SharedInputs inputs(ranks, devices.gpus.get());
  std::vector<ModelCosts> models;
  for (const Config::Model& model : study.config.models) {
    models.push_back(measure(ranks, inputs, devices, study.config, model, emulated(study)));
  }
  const Overheads overheads = measure_overheads(ranks);
  if (!ranks.root()) return;
  const int ranks_per_node = std::max(1, omp_get_num_procs() / thread_count());
  fmt::print("Costs measured on {}: {}\n", ranks.host(), devices.backends[0]->description());
  fmt::print(
      "Assumed: {:.2f} ms for a message between ranks, {:.3f} ms of the root per task ({}), broadcasts at {:.0f} "
      "GB/s,\n"
      "files in memory; all rounds of the search with all their assignments; {} ranks per node. Models run side by "
      "side;\n"
      "efficiency is against one rank. Serial: what all ranks do or wait for; float: with emulation for the costs of\n"
      "candidates; first: uniform and single layers; test: float, integer, and all emulation.\n\n",
      1e3 * overheads.message, 1e3 * overheads.serve,
      ranks.size() > 1 ? "the latter measured now" : "see analysis/benchmarks.md", 1e-9 * broadcast_bytes_per_s,
      ranks_per_node);
  fmt::print("{:<12} {:>6} {:>11} {:>6} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}\n", "model", "ranks", "wall s",
             "eff. %", "serial", "float", "first", "probes", "test", "tasks", "GB/rank", "GB/node");
  for (const ModelCosts& costs : models) {
    const Prediction alone = predict(std::span(&costs, 1), study, 1, overheads);
    print_row(costs.name, 1, alone.wall(), alone, ranks_per_node);
  }
  const double one_rank = predict(models, study, 1, overheads).wall();
  for (const int count : rank_counts) {
    print_row("all", count, one_rank, predict(models, study, count, overheads), ranks_per_node);
  }
}

}  // namespace bitcluster
