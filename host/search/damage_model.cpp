#include "host/search/damage_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "host/search/additive_model.hpp"

namespace bitcluster {

MeasuredDamage measure_damage(std::span<const ImageScore> reference, std::span<const ImageScore> scores) {
  const double images = double(scores.size());
  double sum = 0, squares = 0;
  int won = 0, lost = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double change = std::exp(-double(scores[i].cross_entropy)) - std::exp(-double(reference[i].cross_entropy));
    sum += change * change;
    squares += change * change * change * change;
    won += scores[i].top1 > reference[i].top1;
    lost += scores[i].top1 < reference[i].top1;
  }
  const double mean = sum / images;
  return {mean, std::max(0.0, squares / images - mean * mean) / images, (lost - won) / images, (lost + won) / images};
}

double DamageModel::variance(int layer, int candidate) const {
  const MeasuredDamage& alone = damage[layer][candidate];
  constexpr double interaction = 0.3;
  return alone.variance + interaction * interaction * alone.mean * alone.mean;
}

std::vector<std::vector<double>> DamageModel::fit(const std::vector<const Assignment*>& assignments,
                                                  const std::vector<MeasuredDamage>& measured) const {
  constexpr double common = 1;          // the whole may well be twice what its layers add up to
  constexpr double not_additive = 0.1;  // of a damage, what no sum over layers explains
  std::vector<std::vector<double>> mean, variances;
  for (int layer = 0; layer < int(damage.size()); ++layer) {
    mean.emplace_back();
    variances.emplace_back();
    for (int candidate = 0; candidate < int(damage[layer].size()); ++candidate) {
      mean.back().push_back(damage[layer][candidate].mean);
      variances.back().push_back(variance(layer, candidate));
    }
  }
  std::vector<Observation> observations;
  for (std::size_t i = 0; i < assignments.size(); ++i) {
    const double rest = not_additive * measured[i].mean;
    observations.push_back({assignments[i], measured[i].mean, measured[i].variance + rest * rest});
  }
  return fit_shares(mean, variances, common, observations);
}

}  // namespace bitcluster
