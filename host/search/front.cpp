#include "host/search/front.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

namespace bitcluster {
namespace {

/// Partial assignments that the dynamic program keeps per layer. Beyond that, of damages less than 0.9 % apart
/// (25 octaves / 2000) only the cheapest is kept; those below 2^-25 of the largest count as equal.
constexpr std::size_t largest_front = 2000;
constexpr double octaves_of_damage = 25;

/// One assignment of the first layers, as its last choice and what it extends.
struct Partial {
  double damage = 0;  //!< predicted
  double cost = 0;
  int parent = -1;  //!< index into the front of the layers before
  int candidate = reference_choice;
};

/// Sorts by damage and drops what is no cheaper than something that does no more.
void keep_front(std::vector<Partial>& partials) {
  std::stable_sort(partials.begin(), partials.end(), [](const Partial& a, const Partial& b) {
    return a.damage != b.damage ? a.damage < b.damage : a.cost < b.cost;
  });
  std::vector<Partial> front;
  for (const Partial& partial : partials) {
    if (front.empty() || partial.cost < front.back().cost) front.push_back(partial);
  }
  if (front.size() > largest_front) {
    const double least = front.back().damage * std::exp2(-octaves_of_damage);
    const auto bucket = [&](double damage) {
      return damage <= least ? 0 : 1 + int(std::log2(damage / least) / octaves_of_damage * largest_front);
    };
    std::vector<Partial> thinned;
    for (std::size_t i = 0; i < front.size(); ++i) {
      // the last of a bucket is its cheapest
      if (i + 1 == front.size() || bucket(front[i].damage) != bucket(front[i + 1].damage)) {
        thinned.push_back(front[i]);
      }
    }
    front = std::move(thinned);
  }
  partials = std::move(front);
}

}  // namespace

std::vector<PredictedAssignment> predict_front(const std::vector<std::vector<double>>& damage,
                                               const std::vector<std::vector<double>>& cost) {
  std::vector<std::vector<Partial>> fronts = {{Partial{}}};
  double offset = 0;
  for (std::size_t layer = 0; layer < cost.size(); ++layer) {
    // damages from the layer's best candidate on are not negative, and so are their sums
    const double least = *std::min_element(damage[layer].begin(), damage[layer].end());
    offset += least;
    std::vector<Partial> partials;
    for (std::size_t parent = 0; parent < fronts.back().size(); ++parent) {
      const Partial& before = fronts.back()[parent];
      for (std::size_t candidate = 0; candidate < cost[layer].size(); ++candidate) {
        partials.push_back({before.damage + damage[layer][candidate] - least, before.cost + cost[layer][candidate],
                            int(parent), int(candidate)});
      }
    }
    keep_front(partials);
    fronts.push_back(std::move(partials));
  }
  std::vector<PredictedAssignment> predictions;
  for (const Partial& last : fronts.back()) {
    PredictedAssignment prediction{last.damage + offset, last.cost, Assignment(cost.size())};
    const Partial* partial = &last;
    for (std::size_t layer = cost.size(); layer-- > 0;) {
      prediction.assignment[layer] = partial->candidate;
      partial = &fronts[layer][partial->parent];
    }
    predictions.push_back(std::move(prediction));
  }
  return predictions;
}

std::vector<bool> pareto(const std::vector<std::vector<double>>& points) {
  const auto unknown = [](const std::vector<double>& point) {
    return std::any_of(point.begin(), point.end(), [](double value) { return std::isnan(value); });
  };
  const auto covers = [&](std::size_t a, std::size_t b) {
    for (std::size_t i = 0; i < points[a].size(); ++i) {
      if (points[a][i] > points[b][i]) return false;
    }
    return points[a] != points[b] || a < b;
  };
  std::vector<bool> flags(points.size());
  for (std::size_t b = 0; b < points.size(); ++b) {
    flags[b] = !unknown(points[b]);
    for (std::size_t a = 0; a < points.size() && flags[b]; ++a) {
      flags[b] = a == b || unknown(points[a]) || !covers(a, b);
    }
  }
  return flags;
}

}  // namespace bitcluster
