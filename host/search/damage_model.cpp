#include "host/search/damage_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace bitcluster {
namespace {

constexpr double tiny = 1e-300;  // keeps quotients finite

}  // namespace

MeasuredDamage measure_damage(std::span<const ImageScore> reference, std::span<const ImageScore> scores) {
  const double images = double(scores.size());
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double change = std::exp(-double(scores[i].cross_entropy)) - std::exp(-double(reference[i].cross_entropy));
    sum += change * change;
    squares += change * change * change * change;
  }
  const double mean = sum / images;
  return {mean, std::max(0.0, squares / images - mean * mean) / images};
}

double DamageModel::variance(int layer, int candidate) const {
  const MeasuredDamage& alone = damage[layer][candidate];
  constexpr double interaction = 0.3;
  return alone.variance + interaction * interaction * alone.mean * alone.mean;
}

std::vector<std::vector<double>> DamageModel::fit(const std::vector<const Assignment*>& assignments,
                                                  const std::vector<MeasuredDamage>& measured) const {
  std::vector<std::vector<double>> fitted;
  for (const std::vector<MeasuredDamage>& row : damage) {
    fitted.emplace_back();
    for (const MeasuredDamage& one : row) fitted.back().push_back(one.mean);
  }
  // residual = A delta + noise, delta of covariance T, which is variance() by layer, and common to all in proportion
  // to their damages: delta = T A' (A T A' + noise)^-1 residual, by Cholesky
  constexpr double common = 1;  // the whole may well be twice what its layers add up to
  const std::size_t count = assignments.size();
  std::vector<std::vector<double>> matrix(count, std::vector<double>(count));
  std::vector<double> weights(count), sums(count);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t layer = 0; layer < fitted.size(); ++layer) sums[i] += fitted[layer][(*assignments[i])[layer]];
    weights[i] = measured[i].mean - sums[i];
    for (std::size_t j = 0; j <= i; ++j) {
      matrix[i][j] = common * common * sums[i] * sums[j];
      for (std::size_t layer = 0; layer < fitted.size(); ++layer) {
        const int candidate = (*assignments[i])[layer];
        if (candidate == (*assignments[j])[layer]) matrix[i][j] += variance(int(layer), candidate);
      }
    }
    // what no sum over layers explains, taken as a tenth
    constexpr double not_additive = 0.1;
    const double noise = measured[i].variance + not_additive * not_additive * measured[i].mean * measured[i].mean;
    matrix[i][i] += std::max(noise, 1e-9 * matrix[i][i]) + tiny;  // so that equal rows can be told from each other
  }
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t k = 0; k < j; ++k) matrix[j][j] -= matrix[j][k] * matrix[j][k];
    matrix[j][j] = std::sqrt(std::max(matrix[j][j], tiny));
    for (std::size_t i = j + 1; i < count; ++i) {
      for (std::size_t k = 0; k < j; ++k) matrix[i][j] -= matrix[i][k] * matrix[j][k];
      matrix[i][j] /= matrix[j][j];
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t k = 0; k < i; ++k) weights[i] -= matrix[i][k] * weights[k];
    weights[i] /= matrix[i][i];
  }
  for (std::size_t i = count; i-- > 0;) {
    for (std::size_t k = i + 1; k < count; ++k) weights[i] -= matrix[k][i] * weights[k];
    weights[i] /= matrix[i][i];
  }
  double scale = 1;
  for (std::size_t i = 0; i < count; ++i) scale += common * common * sums[i] * weights[i];
  for (std::vector<double>& row : fitted) {
    for (double& one : row) one *= std::max(scale, 0.1);
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t layer = 0; layer < fitted.size(); ++layer) {
      const int candidate = (*assignments[i])[layer];
      fitted[layer][candidate] += variance(int(layer), candidate) * weights[i];
    }
  }
  return fitted;
}

}  // namespace bitcluster
