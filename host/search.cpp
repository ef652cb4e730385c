#include "host/search.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>

#include "host/error.hpp"

namespace bitcluster {
namespace {

/// Partial assignments that the dynamic program keeps per layer. Beyond that, of increases less than 0.2 % apart
/// (25 octaves / 10000) only the cheapest is kept; those below 2^-25 of the largest count as equal.
constexpr std::size_t largest_front = 10000;
constexpr double octaves_of_increase = 25;

/// One assignment of the first layers, as its last choice and what it extends.
struct Partial {
  double increase = 0;  //!< predicted, of the cross entropy [nat]
  double cost = 0;
  int parent = -1;  //!< index into the front of the layers before
  int candidate = reference;
};

/// A full assignment of the front, by falling cost.
struct Prediction {
  double increase, cost;
  Assignment assignment;
};

/// Sorts by increase and drops what is no cheaper than something that increases no more.
void keep_front(std::vector<Partial>& partials) {
  std::stable_sort(partials.begin(), partials.end(), [](const Partial& a, const Partial& b) {
    return a.increase != b.increase ? a.increase < b.increase : a.cost < b.cost;
  });
  std::vector<Partial> front;
  for (const Partial& partial : partials) {
    if (front.empty() || partial.cost < front.back().cost) front.push_back(partial);
  }
  if (front.size() > largest_front) {
    const double least = front.back().increase * std::exp2(-octaves_of_increase);
    const auto bucket = [&](double increase) {
      return increase <= least ? 0 : 1 + int(std::log2(increase / least) / octaves_of_increase * largest_front);
    };
    std::vector<Partial> thinned;
    for (std::size_t i = 0; i < front.size(); ++i) {
      // the last of a bucket is its cheapest
      if (i + 1 == front.size() || bucket(front[i].increase) != bucket(front[i + 1].increase)) {
        thinned.push_back(front[i]);
      }
    }
    front = std::move(thinned);
  }
  partials = std::move(front);
}

/// All assignments that are cheapest for some allowed total increase, if the increases of layers add up (dynamic
/// programming over layers; exact as long as the front stays small). increase and cost: (layers, candidates).
std::vector<Prediction> predict_front(const std::vector<std::vector<double>>& increase,
                                      const std::vector<std::vector<double>>& cost) {
  std::vector<std::vector<Partial>> fronts = {{Partial{}}};
  double offset = 0;
  for (std::size_t layer = 0; layer < cost.size(); ++layer) {
    // increases from the layer's best candidate on are not negative, and so are their sums
    const double least = *std::min_element(increase[layer].begin(), increase[layer].end());
    offset += least;
    std::vector<Partial> partials;
    for (std::size_t parent = 0; parent < fronts.back().size(); ++parent) {
      const Partial& before = fronts.back()[parent];
      for (std::size_t candidate = 0; candidate < cost[layer].size(); ++candidate) {
        partials.push_back({before.increase + increase[layer][candidate] - least, before.cost + cost[layer][candidate],
                            int(parent), int(candidate)});
      }
    }
    keep_front(partials);
    fronts.push_back(std::move(partials));
  }
  std::vector<Prediction> predictions;
  for (const Partial& last : fronts.back()) {
    Prediction prediction{last.increase + offset, last.cost, Assignment(cost.size())};
    const Partial* partial = &last;
    for (std::size_t layer = cost.size(); layer-- > 0;) {
      prediction.assignment[layer] = partial->candidate;
      partial = &fronts[layer][partial->parent];
    }
    predictions.push_back(std::move(prediction));
  }
  return predictions;
}

void check(const SearchProblem& problem) {
  const auto fail = [](const std::string& why, const std::string& what_to_do) {
    throw Error("the layerwise search cannot start", why, what_to_do);
  };
  if (problem.layers <= 0 || problem.candidates <= 0) {
    fail("there are " + std::to_string(problem.layers) + " layers and " + std::to_string(problem.candidates) +
             " candidates",
         "give at least one of each");
  }
  if (problem.cost.size() != std::size_t(problem.layers)) {
    fail("the cost table has " + std::to_string(problem.cost.size()) + " rows for " + std::to_string(problem.layers) +
             " layers",
         "give one row per layer");
  }
  for (const std::vector<double>& row : problem.cost) {
    if (row.size() != std::size_t(problem.candidates) ||
        !std::all_of(row.begin(), row.end(), [](double cost) { return std::isfinite(cost) && cost >= 0; })) {
      fail("a layer does not have a finite cost of 0 or more for each of the " + std::to_string(problem.candidates) +
               " candidates",
           "check the emulated costs");
    }
  }
  if (!(problem.budget >= 0 && problem.budget <= 1)) {
    fail("the budget is " + std::to_string(problem.budget), "give a fraction in [0, 1], 0.01 for 1 %");
  }
  if (problem.probes < 1 || problem.choice_rounds < 0 || problem.refine_rounds < 0) {
    fail("probes is below 1 or a number of rounds is negative", "raise it");
  }
  if (problem.baseline.empty()) fail("the float network has no scores", "evaluate it on the search split first");
}

}  // namespace

struct LayerwiseSearch::State {
  enum class Phase { uniform, sensitivity, choice, refinement, ended };

  SearchProblem problem;
  Phase phase = Phase::uniform;
  int rounds = 0;  //!< of this phase, so far
  std::vector<Assignment> pending;
  std::vector<std::string> roles;  //!< of pending
  std::vector<Checked> checked;
  std::map<Assignment, int> index;  //!< into checked

  std::vector<std::vector<double>> increase;  //!< of the cross entropy by a layer at a candidate (layers, candidates)
  std::vector<Prediction> front;
  std::vector<int> probed;  //!< of the front, in this round
  int inside = -1;          //!< the front's furthest prediction that was found within the budget
  int outside = 0;          //!< the nearest one beyond it that is not known to be

  void ask(const std::string& role, Assignment assignment) {
    if (index.contains(assignment) || std::find(pending.begin(), pending.end(), assignment) != pending.end()) return;
    pending.push_back(std::move(assignment));
    roles.push_back(role);
  }

  Assignment alone(int layer, int candidate) const {
    Assignment assignment(problem.layers, reference);
    assignment[layer] = candidate;
    return assignment;
  }

  double cost_of(const Assignment& assignment) const {
    double cost = 0;
    for (int layer = 0; layer < problem.layers; ++layer) {
      if (assignment[layer] == reference) return std::numeric_limits<double>::quiet_NaN();
      cost += problem.cost[layer][assignment[layer]];
    }
    return cost;
  }

  int cheapest() const {
    int best = -1;
    for (int i = 0; i < int(checked.size()); ++i) {
      if (checked[i].within_budget && !std::isnan(checked[i].cost) &&
          (best < 0 || checked[i].cost < checked[best].cost)) {
        best = i;
      }
    }
    return best;
  }

  void ask_uniform() {
    ask("reference", Assignment(problem.layers, reference));
    for (int candidate = 0; candidate < problem.candidates; ++candidate) {
      ask("uniform", Assignment(problem.layers, candidate));
    }
  }

  void ask_sensitivity() {
    for (int layer = 0; layer < problem.layers; ++layer) {
      for (int candidate = 0; candidate < problem.candidates; ++candidate) {
        ask("sensitivity", alone(layer, candidate));
      }
    }
  }

  void predict() {
    const double before = checked[0].accuracy.cross_entropy;
    increase.assign(problem.layers, std::vector<double>(problem.candidates));
    for (int layer = 0; layer < problem.layers; ++layer) {
      for (int candidate = 0; candidate < problem.candidates; ++candidate) {
        increase[layer][candidate] = checked[index.at(alone(layer, candidate))].accuracy.cross_entropy - before;
      }
    }
    front = predict_front(increase, problem.cost);
    inside = -1;
    outside = int(front.size());
  }

  /// Predictions of about equal distance in cost between the bracket's ends, which themselves are known or beyond the
  /// front.
  void ask_choice() {
    probed.clear();
    const int first = inside + 1, last = outside - 1;
    if (first > last) return;
    const double high = front[first].cost, low = front[last].cost;
    for (int probe = 0; probe < problem.probes; ++probe) {
      const double target = problem.probes == 1 ? (high + low) / 2 : high + (low - high) * probe / (problem.probes - 1);
      int nearest = first;
      for (int i = first; i <= last; ++i) {
        if (std::abs(front[i].cost - target) < std::abs(front[nearest].cost - target)) nearest = i;
      }
      if (probed.empty() || probed.back() < nearest) probed.push_back(nearest);
    }
    for (const int i : probed) ask("layerwise", front[i].assignment);
  }

  /// Narrows the bracket to what this round found: the furthest prediction within the budget and the next one probed.
  void take_choice() {
    for (const int i : probed) {
      if (checked[index.at(front[i].assignment)].within_budget) inside = std::max(inside, i);
    }
    for (const int i : probed) {
      if (i > inside) outside = std::min(outside, i);
    }
  }

  /// Layers of the best assignment one candidate cheaper, least predicted increase per saved cost first: the first 1,
  /// 2, 4,
  /// ... of these moves together, so that the rounds find in a few steps how many fit the budget, then single ones.
  void ask_refinement() {
    const int best = cheapest();
    if (best < 0) return;
    struct Move {
      int layer, candidate;
      double increase_per_cost;
    };
    const Assignment& from = checked[best].assignment;
    const auto moved = [&](std::span<const Move> some) {
      Assignment assignment = from;
      for (const Move& move : some) assignment[move.layer] = move.candidate;
      return assignment;
    };
    // an increase below one nat of one image cannot be told from noise
    const double noise = 1.0 / double(problem.baseline.size());
    std::vector<Move> moves;
    for (int layer = 0; layer < problem.layers; ++layer) {
      const int now = from[layer];
      const std::vector<double>& cost = problem.cost[layer];
      int candidate = now - 1;
      while (candidate >= 0 && cost[candidate] >= cost[now]) --candidate;
      if (candidate < 0) continue;
      const double more = std::max(0.0, increase[layer][candidate] - increase[layer][now]) + noise;
      moves.push_back({layer, candidate, more / (cost[now] - cost[candidate])});
    }
    std::stable_sort(moves.begin(), moves.end(),
                     [](const Move& a, const Move& b) { return a.increase_per_cost < b.increase_per_cost; });
    std::erase_if(moves,
                  [&](const Move& move) { return index.contains(moved(std::span(&move, 1))); });  // too much alone
    for (std::size_t count = 1; count < 2 * moves.size() && int(pending.size()) < problem.probes; count *= 2) {
      ask("layerwise", moved(std::span(moves).first(std::min(count, moves.size()))));
    }
    for (std::size_t single = 1; single < moves.size() && int(pending.size()) < problem.probes; ++single) {
      ask("layerwise", moved(std::span(moves).subspan(single, 1)));
    }
  }

  /// Moves on until something has to be evaluated or the search has ended.
  void advance() {
    while (pending.empty() && phase != Phase::ended) {
      switch (phase) {
        case Phase::uniform:
          phase = Phase::sensitivity;
          ask_sensitivity();
          break;
        case Phase::sensitivity:
          phase = Phase::choice;
          rounds = 0;
          probed.clear();
          predict();
          break;
        case Phase::choice:
          take_choice();
          if (rounds < problem.choice_rounds && inside + 1 < outside) {
            ++rounds;
            ask_choice();
          } else {
            phase = Phase::refinement;
            rounds = 0;
          }
          break;
        case Phase::refinement:
          if (rounds < problem.refine_rounds) {
            ++rounds;
            ask_refinement();
          }
          if (pending.empty()) phase = Phase::ended;
          break;
        case Phase::ended:
          break;
      }
    }
  }
};

LayerwiseSearch::LayerwiseSearch(SearchProblem problem) : state_(std::make_unique<State>()) {
  check(problem);
  state_->problem = std::move(problem);
  state_->ask_uniform();
}

LayerwiseSearch::~LayerwiseSearch() = default;

std::vector<Assignment> LayerwiseSearch::next() { return state_->pending; }

void LayerwiseSearch::report(const std::vector<std::vector<ImageScore>>& scores) {
  State& state = *state_;
  const std::size_t images = state.problem.baseline.size();
  if (scores.size() != state.pending.size() ||
      !std::all_of(scores.begin(), scores.end(), [&](const auto& one) { return one.size() == images; })) {
    throw Error("the layerwise search cannot take these scores",
                std::to_string(scores.size()) + " assignments were reported, " + std::to_string(state.pending.size()) +
                    " asked for, each with " + std::to_string(images) + " images",
                "report the scores of every image for what next() gave");
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    Checked checked;
    checked.role = state.roles[i];
    checked.assignment = state.pending[i];
    checked.cost = state.cost_of(checked.assignment);
    checked.accuracy = summarize(scores[i]);
    checked.loss = paired_loss(state.problem.baseline, scores[i]);
    checked.within_budget = (state.problem.confident ? checked.loss.high : checked.loss.loss) <= state.problem.budget;
    state.index.emplace(checked.assignment, int(state.checked.size()));
    state.checked.push_back(std::move(checked));
  }
  state.pending.clear();
  state.roles.clear();
  state.advance();
}

const std::vector<LayerwiseSearch::Checked>& LayerwiseSearch::checked() const { return state_->checked; }

int LayerwiseSearch::uniform() const {
  for (int candidate = 0; candidate < state_->problem.candidates; ++candidate) {
    const auto found = state_->index.find(Assignment(state_->problem.layers, candidate));
    if (found != state_->index.end() && state_->checked[found->second].within_budget) return found->second;
  }
  return -1;
}

int LayerwiseSearch::layerwise() const { return state_->cheapest(); }

int LayerwiseSearch::sensitivity(int layer, int candidate) const {
  if (layer < 0 || layer >= state_->problem.layers || candidate < 0 || candidate >= state_->problem.candidates) {
    throw Error("no sensitivity of layer " + std::to_string(layer) + " to candidate " + std::to_string(candidate),
                "the search has " + std::to_string(state_->problem.layers) + " layers and " +
                    std::to_string(state_->problem.candidates) + " candidates",
                "use an index in that range");
  }
  const auto found = state_->index.find(state_->alone(layer, candidate));
  return found == state_->index.end() ? -1 : found->second;
}

std::vector<bool> pareto(const std::vector<LayerwiseSearch::Checked>& checked) {
  std::vector<std::size_t> order(checked.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::erase_if(order, [&](std::size_t i) { return std::isnan(checked[i].cost); });
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return checked[a].cost != checked[b].cost ? checked[a].cost < checked[b].cost
                                              : checked[a].accuracy.top1 > checked[b].accuracy.top1;
  });
  std::vector<bool> flags(checked.size());
  double best = -1;
  for (const std::size_t i : order) {
    if (checked[i].accuracy.top1 > best) {
      flags[i] = true;
      best = checked[i].accuracy.top1;
    }
  }
  return flags;
}

}  // namespace bitcluster
