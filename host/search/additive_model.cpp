#include "host/search/additive_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace bitcluster {
namespace {

using Table = std::vector<std::vector<double>>;

constexpr double tiny = 1e-300;  // keeps quotients finite

/// Solves (L L') x = b for a symmetric positive matrix, of which the lower half is given and overwritten.
void solve(Table& matrix, std::vector<double>& right) {
  const std::size_t count = right.size();
  for (std::size_t j = 0; j < count; ++j) {
    for (std::size_t k = 0; k < j; ++k) matrix[j][j] -= matrix[j][k] * matrix[j][k];
    matrix[j][j] = std::sqrt(std::max(matrix[j][j], tiny));
    for (std::size_t i = j + 1; i < count; ++i) {
      for (std::size_t k = 0; k < j; ++k) matrix[i][j] -= matrix[i][k] * matrix[j][k];
      matrix[i][j] /= matrix[j][j];
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t k = 0; k < i; ++k) right[i] -= matrix[i][k] * right[k];
    right[i] /= matrix[i][i];
  }
  for (std::size_t i = count; i-- > 0;) {
    for (std::size_t k = i + 1; k < count; ++k) right[i] -= matrix[k][i] * right[k];
    right[i] /= matrix[i][i];
  }
}

}  // namespace

std::vector<std::vector<double>> fit_shares(const Table& mean, const Table& variance, double common,
                                            std::span<const Observation> observations) {
  // residual = A delta + noise, delta of covariance T = diag(variance) + common^2 mean mean':
  // delta = T A' (A T A' + noise)^-1 residual
  const std::size_t count = observations.size();
  Table matrix(count, std::vector<double>(count));
  std::vector<double> weights(count), sums(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Assignment& own = *observations[i].assignment;
    for (std::size_t layer = 0; layer < own.size(); ++layer) {
      if (own[layer] != reference_choice) sums[i] += mean[layer][own[layer]];
    }
    weights[i] = observations[i].value - sums[i];
    for (std::size_t j = 0; j <= i; ++j) {
      const Assignment& other = *observations[j].assignment;
      matrix[i][j] = common * common * sums[i] * sums[j];
      for (std::size_t layer = 0; layer < own.size(); ++layer) {
        if (own[layer] != reference_choice && own[layer] == other[layer]) matrix[i][j] += variance[layer][own[layer]];
      }
    }
    // so that equal rows can be told from each other
    matrix[i][i] += std::max(observations[i].variance, 1e-9 * matrix[i][i]) + tiny;
  }
  solve(matrix, weights);
  double scale = 1;
  for (std::size_t i = 0; i < count; ++i) scale += common * common * sums[i] * weights[i];
  Table fitted = mean;
  for (std::vector<double>& row : fitted) {
    for (double& one : row) one *= std::max(scale, 0.1);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Assignment& own = *observations[i].assignment;
    for (std::size_t layer = 0; layer < own.size(); ++layer) {
      if (own[layer] != reference_choice) fitted[layer][own[layer]] += variance[layer][own[layer]] * weights[i];
    }
  }
  return fitted;
}

}  // namespace bitcluster
