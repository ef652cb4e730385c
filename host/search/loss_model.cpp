#include "host/search/loss_model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "host/search/additive_model.hpp"

namespace bitcluster {
namespace {

constexpr double tiny = 1e-300;  // keeps quotients finite

}  // namespace

Limit find_limit(std::span<const LossCheck> checks, double budget, int images) {
  double sum = 0, x = 0, y = 0, xx = 0, xy = 0;
  constexpr double unknown = std::numeric_limits<double>::infinity();
  double within = 0, least_within = unknown, beyond = unknown;
  for (const LossCheck& check : checks) {
    if (check.sensitivity || !check.complete) continue;
    const double damage = check.damage.mean, above = check.excess;
    if (above <= 0) {
      within = std::max(within, damage);
      if (check.whole) least_within = std::min(least_within, damage);
    } else {
      beyond = std::min(beyond, damage);
    }
    const double near = std::max(budget, 1.0 / images);  // an image at least
    const double weight = 1 / (near * near + above * above);
    sum += weight;
    x += weight * damage;
    y += weight * above;
    xx += weight * damage * damage;
    xy += weight * damage * above;
  }
  if (std::isinf(beyond)) beyond = 2 * within;
  const double slope = (sum * xy - x * y) / std::max(sum * xx - x * x, tiny);
  if (slope <= 0) {
    const double allowed = (within + beyond) / 2;
    return {allowed, budget / std::max(allowed, tiny)};
  }
  const double undoubted = std::min(least_within, beyond), least = std::max(std::min(within, beyond) / 2, undoubted);
  const double allowed = std::clamp((x - y / slope) / sum, least, std::max(least, 2 * std::max(within, beyond)));
  // where the line is known to a tenth, 1 in 40 simulated searches ends beyond the budget on other images
  return {allowed, slope, std::max(0.9 * allowed, undoubted)};
}

LossShares share_losses(std::span<const LossCheck> checks, std::vector<std::vector<double>> damage, const Limit& limit,
                        int images) {
  double flips = 0, whole = 0, loss = 0, damage_squared = 0;
  for (const LossCheck& check : checks) {
    if (!check.whole || !check.complete) continue;
    flips += check.damage.flips;
    whole += check.damage.mean;
    loss += check.damage.loss * check.damage.mean;
    damage_squared += check.damage.mean * check.damage.mean;
  }
  const double flips_per_damage = flips / std::max(whole, tiny), loss_slope = loss / std::max(damage_squared, tiny);
  constexpr double uneven = 0.1;  // how much a layer's loss per damage may differ from that of others
  LossShares shares{std::move(damage), {}};
  for (std::vector<double>& row : shares.loss) {
    shares.variance.emplace_back();
    for (double& share : row) {
      const double luck = flips_per_damage * std::max(share, 0.0) / images;
      share *= limit.slope;
      shares.variance.back().push_back(luck + uneven * uneven * share * share);
    }
  }
  const double none = -limit.allowed * limit.slope;             // excess of no damage
  constexpr double not_additive = 0.1;                          // of the variance that flips make
  std::vector<std::vector<double>> variance = shares.variance;  // once sensitivities are known
  std::vector<Observation> observations;
  for (const LossCheck& check : checks) {
    if (check.whole && check.complete) {
      observations.push_back({check.assignment, check.excess - none, not_additive * check.damage.flips / images});
    } else if (check.sensitivity) {
      const double wider = (limit.slope - loss_slope) * check.damage.mean;  // of the interval
      const double left_out = 1.0 / check.images - 1.0 / images, one_flip = 1.0 / images;
      const double noise = (check.damage.flips + one_flip) * (left_out + not_additive / images);
      const auto changed =
          std::ranges::find_if(*check.assignment, [](int choice) { return choice != reference_choice; });
      const auto layer = changed - check.assignment->begin();
      double &share = shares.loss[layer][*changed], &before = variance[layer][*changed];
      const double gain = before / (before + noise);  // of one share alone
      share += gain * (check.damage.loss + wider - share);
      before *= 1 - gain;
    }
  }
  shares.loss = fit_shares(shares.loss, variance, 0, observations);
  return shares;
}

}  // namespace bitcluster
