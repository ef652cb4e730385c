#pragma once

#include <string>
#include <vector>

#include "harness/plan/predict.hpp"
#include "harness/ranks/ranks.hpp"

namespace bitcluster {

/// Measures on this machine what the tasks of a study cost, and prints what it would take on these numbers of ranks:
/// wall time, parallel efficiency, memory. The images count as present if the config says how many there are.
/// Collective.
void plan(const Ranks& ranks, const PlannedStudy& study, const std::string& backend,
          const std::vector<int>& rank_counts);

}  // namespace bitcluster
