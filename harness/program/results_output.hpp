#pragma once

#include <string>

#include "harness/ranks/ranks.hpp"
#include "host/results/results.hpp"

namespace bitcluster {

/// Results of a command of this program, begun now. Error on the root if `output`, if there is one, cannot be written
/// later. backend: of this rank. Collective.
Results start_results(const Ranks& ranks, const std::string& output, const std::string& backend);

/// Writes them on the root, if there is an output.
void finish_results(const Ranks& ranks, const std::string& output, const Results& results);

}  // namespace bitcluster
