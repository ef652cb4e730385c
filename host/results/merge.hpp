#pragma once

#include <string>
#include <vector>

#include "host/results/results.hpp"

namespace bitcluster {

/// Joins results of different models that one program made from one config: the rows of all files in their order, those
/// of /accelerators once, ranks and devices of all, the latest date. /summary, which needs all models at once, is left
/// to summarize(). Error if programs, configs or accelerators differ, or a model is in two files.
Results merge_results(const std::vector<std::string>& paths);

}  // namespace bitcluster
