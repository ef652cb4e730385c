#include "host/weights/sorted_magnitudes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace bitcluster {

SortedMagnitudes::SortedMagnitudes(std::span<const float> weights, std::span<const double> importance) {
  const std::size_t count = weights.size();
  std::vector<std::pair<float, double>> sorted(count);
  for (std::size_t i = 0; i < count; ++i) sorted[i] = {std::abs(weights[i]), importance[i]};
  std::sort(sorted.begin(), sorted.end());
  magnitudes_.resize(count);
  importances_.resize(count + 1);
  products_.resize(count + 1);
  for (std::size_t i = count; i-- > 0;) {
    const auto [magnitude, weight] = sorted[i];
    const double product = weight * magnitude;
    magnitudes_[i] = magnitude;
    importances_[i] = importances_[i + 1] + weight;
    products_[i] = products_[i + 1] + product;
    squares_ += product * magnitude;
  }
}

std::vector<SortedMagnitudes::Step> SortedMagnitudes::steps_of(const RoundingTable& table) {
  std::vector<Step> steps;
  for (int j = 1; j <= table.last(); ++j) {
    const double before = table.nearest[j - 1], after = table.nearest[j];
    if (before != after) steps.push_back({double(j) / 2, after - before, after * after - before * before});
  }
  return steps;
}

SortedMagnitudes::Sums SortedMagnitudes::sums(double scale, const std::vector<Step>& steps) const {
  Sums sums;
  auto from = magnitudes_.begin();
  for (const Step& step : steps) {
    from = std::upper_bound(from, magnitudes_.end(), scale * step.threshold);
    if (from == magnitudes_.end()) break;
    const std::size_t first = std::size_t(from - magnitudes_.begin());
    sums.product += step.rise * products_[first];
    sums.square += step.square_rise * importances_[first];
  }
  return sums;
}

double SortedMagnitudes::error(double scale, const Sums& sums) const {
  return std::max(0.0, squares_ - 2 * scale * sums.product + scale * scale * sums.square);  // what is left of rounding
}

float SortedMagnitudes::best_scale(const ScaleSearch& search, const RoundingTable& table, float minimum,
                                   float other) const {
  static const CandidateFactors factors = candidate_factors();
  const std::vector<Step> steps = steps_of(table);
  float best = 0;
  Sums best_sums;
  double least = std::numeric_limits<double>::infinity();
  const auto attempt = [&](double scale) {
    const float candidate = admissible_scale(scale, minimum);
    const Sums sums = this->sums(candidate, steps);
    const double error = this->error(candidate, sums);
    if (!(error < least)) return;
    best = candidate;
    best_sums = sums;
    least = error;
  };
  const double unit = double(magnitudes_.back()) / search.highest;
  for (int i = 0; i < int(std::size(factors.coarse)); ++i) {
    if (i == other_candidate) {
      if (other > 0) attempt(other);
    } else {
      attempt(unit * factors.coarse[i]);
    }
  }
  const double centre = best;
  for (const double factor : factors.fine) attempt(centre * factor);
  for (double before = std::numeric_limits<double>::infinity(); least < (1 - least_gain) * before;) {
    before = least;
    if (best_sums.square > 0) attempt(best_sums.product / best_sums.square);
  }
  return best;
}

float SortedMagnitudes::best_scale(const ScaleSearch& search, float minimum) const {
  if (magnitudes_.empty() || magnitudes_.back() == 0) return minimum > 0 ? minimum : 1.0f;
  float scale = 0;
  for (const RoundingTable& table : search.tables) scale = best_scale(search, table, minimum, scale);
  return scale;
}

}  // namespace bitcluster
