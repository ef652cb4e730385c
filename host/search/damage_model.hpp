#pragma once

#include <span>
#include <vector>

#include "host/inference/accuracy.hpp"
#include "host/search/assignment.hpp"

namespace bitcluster {

/// A damage, as a mean over images, and what it did to accuracy on these.
struct MeasuredDamage {
  double mean = 0;
  double variance = 0;  //!< of the mean
  double loss = 0;      //!< of top-1 accuracy, fraction
  double flips = 0;     //!< images that became right or wrong, fraction
};

/// What a choice of weights does to a network: mean squared change of the probability of the label against the
/// reference weights, same images. Changes of layers are nearly independent of each other, so that their squares add
/// up; those of the cross entropy do not, being of either sign and ruled by few images. (CIFAR-10 ResNet-20, 84
/// assignments: sums over layers correlate with the whole by 0.99 against 0.74, and with the upper end of the loss of
/// accuracy by 0.95 against 0.56.)
MeasuredDamage measure_damage(std::span<const ImageScore> reference, std::span<const ImageScore> scores);

/// The damage of an assignment as a sum over its layers. Sensitivities are its start; checks of whole assignments
/// correct it (Bayesian linear regression).
struct DamageModel {
  std::vector<std::vector<MeasuredDamage>> damage;  //!< by one layer at one candidate (layers, candidates)

  /// How far a layer's share of a whole assignment may be from its damage alone: its noise, and interaction, taken
  /// as 30 % of it.
  double variance(int layer, int candidate) const;

  /// Most probable damages (layers, candidates) after some whole assignments were measured.
  std::vector<std::vector<double>> fit(const std::vector<const Assignment*>& assignments,
                                       const std::vector<MeasuredDamage>& measured) const;
};

}  // namespace bitcluster
