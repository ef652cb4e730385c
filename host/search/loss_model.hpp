#pragma once

#include <limits>
#include <span>
#include <vector>

#include "host/search/assignment.hpp"
#include "host/search/damage_model.hpp"

namespace bitcluster {

// How the loss of accuracy, and with it the budget, goes with the damage. Excess: of the loss, or of the upper end of
// its interval, over the budget, on the search images.

/// A check of an assignment, as far as this is concerned.
struct LossCheck {
  const Assignment* assignment;
  MeasuredDamage damage;
  double excess;
  int images;        //!< evaluated
  bool complete;     //!< all search images
  bool sensitivity;  //!< one layer changed
  bool whole;        //!< all layers changed
};

/// How the excess rises with the damage.
struct Limit {
  double allowed;                                         //!< damage at which the budget is used up
  double slope;                                           //!< excess per damage there
  double safe = std::numeric_limits<double>::infinity();  //!< damage up to which that is to be expected
};

/// On a line through the complete checks, those near the budget counting most, where they have one that rises; not far
/// from the largest damage found within the budget and the smallest one found beyond it, and not below what no check
/// speaks against: the least damage found within, where none beyond is less. images: of the search.
Limit find_limit(std::span<const LossCheck> checks, double budget, int images);

/// Of choices, (layers, candidates).
struct LossShares {
  std::vector<std::vector<double>> loss, variance;
};

/// The share of every choice in the excess. Expected is what its damage brings (damage: fitted, (layers, candidates));
/// the images add luck, by how many of them its damage turns. Checks and sensitivities show it.
LossShares share_losses(std::span<const LossCheck> checks, std::vector<std::vector<double>> damage, const Limit& limit,
                        int images);

}  // namespace bitcluster
