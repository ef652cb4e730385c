#pragma once

#include <functional>
#include <vector>

#include "host/search/assignment.hpp"

namespace bitcluster {

/// Probability of a standard normal variable above x.
double upper_tail(double x);

/// An assignment within the budget, from which moves are considered.
struct StartingPoint {
  const Assignment* assignment;
  double room;  //!< loss that may be added until the budget is used up
};

/// What moves are judged by.
struct MoveModel {
  std::vector<std::vector<double>> loss;      //!< expected share of every choice (layers, candidates)
  std::vector<std::vector<double>> variance;  //!< of these (layers, candidates)
  std::vector<std::vector<double>> cost;      //!< (layers, candidates)
  double dearest;                             //!< an assignment must cost less
};

/// Up to `count` assignments near some that are within the budget, those first that are most worth trying, by
/// their saving and the probability of staying within the budget. Moves change one layer, two, or a block of any number
/// of layers. known: assignments to pass over.
std::vector<Assignment> propose_neighbours(const std::vector<StartingPoint>& from, const MoveModel& model,
                                           const std::function<bool(const Assignment&)>& known, int count);

}  // namespace bitcluster
