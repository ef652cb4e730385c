#pragma once

#include <vector>

namespace bitcluster {

/// One choice per weighted layer: index into SearchProblem::candidates, or `reference_choice` for the unchanged
/// weights.
using Assignment = std::vector<int>;
inline constexpr int reference_choice = -1;

}  // namespace bitcluster
