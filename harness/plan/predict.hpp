#pragma once

#include <span>
#include <vector>

#include "harness/plan/measure.hpp"
#include "harness/plan/simulate.hpp"
#include "harness/study/config.hpp"
#include "harness/study/emulation_list.hpp"

namespace bitcluster {

// Assumed, not measured here: a pipelined broadcast at half of what a 100 Gbit/s network carries, and, with a single
// rank, what bench_ranks measured for messages between ranks of one node (analysis/benchmarks.md).
inline constexpr double broadcast_bytes_per_s = 6e9;
inline constexpr Overheads assumed_overheads{.message = 0.5e-3, .serve = 0.055e-3};

/// What a study does.
struct PlannedStudy {
  const Config& config;
  std::vector<Accelerator> searched;  //!< whose costs the searches minimise, by preparation
  std::vector<Basis> bases;           //!< that are emulated; none for a search alone
};

/// The searches of a study: of every preparation that has candidates and an accelerator for them.
std::vector<const Config::Candidates*> searches_of(const PlannedStudy& study);

/// What a study takes on some ranks.
struct Prediction {
  double serial = 0;  //!< every rank does it, or waits for it [s]
  double baseline = 0, first = 0, probes = 0,
         test = 0;   //!< distributed [s]; costs with the baseline, emulation with the test
  double bytes = 0;  //!< of one rank
  long tasks = 0;
  double wall() const { return serial + baseline + first + probes + test; }
};

/// Of models that are studied side by side.
Prediction predict(std::span<const ModelCosts> models, const PlannedStudy& study, int ranks,
                   const Overheads& overheads);

}  // namespace bitcluster
