#pragma once

#include <vector>

#include "host/search/assignment.hpp"

namespace bitcluster {

/// An assignment that no other one is predicted to beat.
struct PredictedAssignment {
  double damage, cost;
  Assignment assignment;
};

/// All assignments that are cheapest for some allowed total damage, if the damages of layers add up, by falling cost
/// (dynamic programming over layers; exact as long as the front stays small). damage and cost: (layers, candidates).
std::vector<PredictedAssignment> predict_front(const std::vector<std::vector<double>>& damage,
                                               const std::vector<std::vector<double>>& cost);

/// Which points are on the Pareto front: no other one is at most as large in every coordinate and smaller in one (of
/// equal ones the first). Those with a NaN are not. points: (points, coordinates).
std::vector<bool> pareto(const std::vector<std::vector<double>>& points);

}  // namespace bitcluster
