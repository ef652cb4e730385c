#include "host/search/neighbours.hpp"

#include <algorithm>
#include <cmath>
#include <compare>
#include <cstddef>
#include <functional>
#include <numbers>
#include <utility>

#include "host/search/front.hpp"

namespace bitcluster {
namespace {

constexpr double tiny = 1e-300;  // keeps quotients finite

/// One layer's change of candidate, or what several do together.
struct Move {
  int layer, candidate;
  double saving, loss, variance;

  Move operator+(const Move& other) const {
    return {layer, candidate, saving + other.saving, loss + other.loss, variance + other.variance};
  }
};

/// A proposal: one or two moves of a starting point, or a block.
struct Neighbour {
  double worth;
  int from, first, second, block;  //!< -1: none

  auto operator<=>(const Neighbour&) const = default;
};

/// The best proposals of any number.
class BestNeighbours {
 public:
  /// What a proposal has to be worth more than to be kept.
  double least() const { return least_; }

  void add(const Neighbour& neighbour) {
    if (!(neighbour.worth > least_)) return;
    neighbours_.push_back(neighbour);
    if (neighbours_.size() < 2 * kept) return;
    std::ranges::nth_element(neighbours_, neighbours_.begin() + kept, std::ranges::greater());
    neighbours_.resize(kept);
    least_ = std::ranges::min_element(neighbours_)->worth;
  }

  /// Best first.
  std::vector<Neighbour> take() {
    std::ranges::sort(neighbours_, std::ranges::greater());
    return std::move(neighbours_);
  }

 private:
  static constexpr std::ptrdiff_t kept = 4096;  // more than a search checks: not all of them are known

  double least_ = 0;
  std::vector<Neighbour> neighbours_;
};

/// Moves of one starting point.
class Moves {
 public:
  Moves(const StartingPoint& from, const MoveModel& model) : from_(from), model_(model) {
    for (int layer = 0; layer < int(model.cost.size()); ++layer) {
      cost_ += model.cost[layer][now(layer)];
      for (int candidate = 0; candidate < int(model.cost[layer].size()); ++candidate) {
        if (candidate != now(layer) && useful(layer, candidate)) singles_.push_back(move(layer, candidate));
      }
    }
  }

  const std::vector<Move>& singles() const { return singles_; }

  /// The change of one layer.
  Move move(int layer, int candidate) const {
    const int before = now(layer);
    const std::vector<double>& loss = model_.loss[layer];
    const std::vector<double>& variance = model_.variance[layer];
    return {layer, candidate, model_.cost[layer][before] - model_.cost[layer][candidate],
            loss[candidate] - loss[before], variance[candidate] + variance[before]};
  }

  /// All changes that lead to an assignment, together.
  Move to(const Assignment& assignment) const {
    Move all{};
    for (int layer = 0; layer < int(assignment.size()); ++layer) {
      if (assignment[layer] != now(layer)) all = all + move(layer, assignment[layer]);
    }
    return all;
  }

  /// What a move is worth trying; 0 where it saves nothing, or where it is not worth more than `least`. Its expected
  /// saving is the saving times the probability; as what succeeds is the start of further moves, likely ones are worth
  /// more than that. (Simulated searches end 2 % cheaper than by the expected saving.)
  double worth(const Move& move, double least) const {
    const double saving = move.saving + model_.dearest - cost_;
    if (saving <= least) return 0;
    const double probability = upper_tail((move.loss - from_.room) / std::sqrt(move.variance + tiny));
    return saving * probability * probability;
  }

 private:
  int now(int layer) const { return (*from_.assignment)[layer]; }

  /// Whether no other candidate of the layer is at least as good in both.
  bool useful(int layer, int candidate) const {
    const std::vector<double>&cost = model_.cost[layer], &loss = model_.loss[layer];
    for (int other = 0; other < int(cost.size()); ++other) {
      if (other == candidate || cost[other] > cost[candidate] || loss[other] > loss[candidate]) continue;
      if (cost[other] < cost[candidate] || loss[other] < loss[candidate] || other < candidate) return false;
    }
    return true;
  }

  const StartingPoint& from_;
  const MoveModel& model_;
  double cost_ = 0;
  std::vector<Move> singles_;
};

/// Blocks: assignments that cost least for their loss, where every change of a layer counts as more than it is
/// expected to do, so that only those that are worth it are made.
std::vector<Assignment> find_blocks(const StartingPoint& from, const MoveModel& model) {
  constexpr double reluctance = 0.25;  // of the losses of what is exchanged
  std::vector<std::vector<double>> loss = model.loss;
  for (std::size_t layer = 0; layer < loss.size(); ++layer) {
    const int now = (*from.assignment)[layer];
    for (int candidate = 0; candidate < int(loss[layer].size()); ++candidate) {
      if (candidate == now) continue;
      loss[layer][candidate] +=
          reluctance * (std::max(model.loss[layer][candidate], 0.0) + std::max(model.loss[layer][now], 0.0));
    }
  }
  std::vector<Assignment> found;
  for (PredictedAssignment& one : predict_front(loss, model.cost)) {
    if (one.cost < model.dearest) found.push_back(std::move(one.assignment));
  }
  return found;
}

}  // namespace

double upper_tail(double x) { return std::erfc(x / std::numbers::sqrt2) / 2; }

std::vector<Assignment> propose_neighbours(const std::vector<StartingPoint>& from, const MoveModel& model,
                                           const std::function<bool(const Assignment&)>& known, int count) {
  BestNeighbours best;
  std::vector<Moves> moves;
  std::vector<std::vector<Assignment>> blocks;
  for (int start = 0; start < int(from.size()); ++start) {
    moves.emplace_back(from[start], model);
    blocks.push_back(find_blocks(from[start], model));
    const auto worth = [&](const Move& move) { return moves[start].worth(move, best.least()); };
    const std::vector<Move>& singles = moves[start].singles();
    for (int i = 0; i < int(singles.size()); ++i) {
      const Move& a = singles[i];
      best.add({worth(a), start, i, -1, -1});
      for (int j = i + 1; j < int(singles.size()); ++j) {
        if (singles[j].layer != a.layer) best.add({worth(a + singles[j]), start, i, j, -1});
      }
    }
    for (int block = 0; block < int(blocks[start].size()); ++block) {
      best.add({worth(moves[start].to(blocks[start][block])), start, -1, -1, block});
    }
  }
  std::vector<Assignment> chosen;
  for (const Neighbour& next : best.take()) {
    if (int(chosen.size()) == count) break;
    Assignment assignment = next.block < 0 ? *from[next.from].assignment : blocks[next.from][next.block];
    for (const int index : {next.first, next.second}) {
      if (index < 0) continue;
      const Move& move = moves[next.from].singles()[index];
      assignment[move.layer] = move.candidate;
    }
    if (!known(assignment) && std::ranges::find(chosen, assignment) == chosen.end()) {
      chosen.push_back(std::move(assignment));
    }
  }
  return chosen;
}

}  // namespace bitcluster
