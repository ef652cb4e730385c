#pragma once

#include <span>
#include <vector>

#include "host/search/assignment.hpp"

namespace bitcluster {

/// What is seen of a whole assignment.
struct Observation {
  const Assignment* assignment;  //!< layers at reference_choice add nothing
  double value, variance;
};

/// Most probable shares of layers in something that is a sum over them (Bayesian linear regression), (layers,
/// candidates). mean, variance: of every share beforehand, shares being independent of each other but for a common
/// factor around 1 with standard deviation `common`.
std::vector<std::vector<double>> fit_shares(const std::vector<std::vector<double>>& mean,
                                            const std::vector<std::vector<double>>& variance, double common,
                                            std::span<const Observation> observations);

}  // namespace bitcluster
