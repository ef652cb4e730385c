#include "host/search/layerwise_search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numbers>

#include "host/base/error.hpp"
#include "host/search/damage_model.hpp"
#include "host/search/front.hpp"

namespace bitcluster {
namespace {

constexpr double tiny = 1e-300;  // keeps quotients finite

void check(const SearchProblem& problem) {
  const auto fail = [](const std::string& why, const std::string& what_to_do) {
    throw Error("the layerwise search cannot start", why, what_to_do);
  };
  if (problem.layers <= 0 || problem.candidates <= 0) {
    fail(fmt::format("there are {} layers and {} candidates", problem.layers, problem.candidates),
         "give at least one of each");
  }
  if (problem.cost.size() != std::size_t(problem.layers)) {
    fail(fmt::format("the cost table has {} rows for {} layers", problem.cost.size(), problem.layers),
         "give one row per layer");
  }
  for (const std::vector<double>& row : problem.cost) {
    if (row.size() != std::size_t(problem.candidates) ||
        !std::all_of(row.begin(), row.end(), [](double cost) { return std::isfinite(cost) && cost >= 0; })) {
      fail(fmt::format("a layer does not have a finite cost of 0 or more for each of the {} candidates",
                       problem.candidates),
           "check the emulated costs");
    }
  }
  if (!(problem.budget >= 0 && problem.budget <= 1)) {
    fail(fmt::format("the budget is {:f}", problem.budget), "give a fraction in [0, 1], 0.01 for 1 %");
  }
  if (problem.probes < 1 || problem.choice_rounds < 0 || problem.refine_rounds < 0 || problem.patience < 1 ||
      problem.sensitivity_images < 0) {
    fail("probes or patience is below 1, or a number of rounds or images is negative", "raise it");
  }
  if (problem.baseline.empty()) fail("the float network has no scores", "evaluate it on the search split first");
}

}  // namespace

struct LayerwiseSearch::State {
  enum class Phase { probing, choice, refinement, greedy, ended };

  SearchProblem problem;
  Phase phase = Phase::probing;
  int rounds = 0;  //!< of this phase, so far
  int idle = 0;    //!< of these, how many at the end found nothing better
  std::vector<Question> pending;
  std::vector<std::string> roles;  //!< of pending
  std::vector<Checked> checked;
  std::map<Assignment, int> index;  //!< into checked
  std::vector<ImageScore> reference_scores;
  std::vector<MeasuredDamage> damages;  //!< per checked

  DamageModel model;
  std::vector<int> order;    //!< layers that the greedy policy has still to visit, last first
  std::size_t improved = 0;  //!< number of checked assignments when the best one was found
  int best_before = -1;      //!< cheapest() when the last questions were asked

  void ask(const std::string& role, Assignment assignment) {
    const auto asked = [&](const Question& question) { return question.assignment == assignment; };
    if (index.contains(assignment) || std::any_of(pending.begin(), pending.end(), asked)) return;
    const int all = int(problem.baseline.size());
    const bool few = role == "sensitivity" && problem.sensitivity_images > 0;
    pending.push_back({std::move(assignment), few ? std::min(all, problem.sensitivity_images) : all,
                       role == "uniform" || role == "layerwise"});
    roles.push_back(role);
  }

  Assignment alone(int layer, int candidate) const {
    Assignment assignment(problem.layers, reference_choice);
    assignment[layer] = candidate;
    return assignment;
  }

  double cost_of(const Assignment& assignment) const {
    double cost = 0;
    for (int layer = 0; layer < problem.layers; ++layer) {
      if (assignment[layer] == reference_choice) return std::numeric_limits<double>::quiet_NaN();
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

  void ask_probes() {
    ask("reference", Assignment(problem.layers, reference_choice));
    for (int candidate = 0; candidate < problem.candidates; ++candidate) {
      ask("uniform", Assignment(problem.layers, candidate));
    }
    for (int layer = 0; layer < problem.layers; ++layer) {
      for (int candidate = 0; candidate < problem.candidates; ++candidate) {
        ask("sensitivity", alone(layer, candidate));
      }
    }
  }

  void learn_sensitivities() {
    model.damage.assign(problem.layers, std::vector<MeasuredDamage>(problem.candidates));
    for (int layer = 0; layer < problem.layers; ++layer) {
      for (int candidate = 0; candidate < problem.candidates; ++candidate) {
        model.damage[layer][candidate] = damages[index.at(alone(layer, candidate))];
      }
    }
  }

  /// The model's damages after all checks of whole assignments.
  std::vector<std::vector<double>> fitted() const {
    std::vector<const Assignment*> assignments;
    std::vector<MeasuredDamage> measured;
    for (std::size_t i = 0; i < checked.size(); ++i) {
      if (std::isnan(checked[i].cost)) continue;
      assignments.push_back(&checked[i].assignment);
      measured.push_back(damages[i]);
    }
    return model.fit(assignments, measured);
  }

  /// The damage at which the budget is used up: on a line through the complete checks, those near the budget counting
  /// most, where they have one that rises; not far from the largest damage found within the budget and the smallest one
  /// found beyond it.
  double allowed_damage() const {
    double sum = 0, x = 0, y = 0, xx = 0, xy = 0;
    double within = 0, beyond = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < checked.size(); ++i) {
      if (checked[i].role == "sensitivity" || !checked[i].complete) continue;
      const double damage = damages[i].mean;
      if (checked[i].within_budget) {
        within = std::max(within, damage);
      } else {
        beyond = std::min(beyond, damage);
      }
      const double excess = (problem.confident ? checked[i].loss.high : checked[i].loss.loss) - problem.budget;
      const double weight = 1 / (problem.budget * problem.budget + excess * excess + tiny);
      sum += weight;
      x += weight * damage;
      y += weight * excess;
      xx += weight * damage * damage;
      xy += weight * damage * excess;
    }
    if (std::isinf(beyond)) beyond = 2 * within;
    const double slope = (sum * xy - x * y) / std::max(sum * xx - x * x, tiny);
    if (slope <= 0) return (within + beyond) / 2;
    return std::clamp((x - y / slope) / sum, std::min(within, beyond) / 2, 2 * std::max(within, beyond));
  }

  /// What an assignment is expected to save: its saving times the probability of staying within the budget.
  static double expected_saving(double saving, double room, double deviation) {
    return saving * std::erfc(-room / (deviation * std::numbers::sqrt2)) / 2;
  }

  /// Assignments of the model's front with the largest expected saving against the best: as if the damage allowed were
  /// between half a spread less than it seems to be and a whole one more, where an assignment that is too much is often
  /// given up early; a single probe goes the whole way. The spread is 0.7 at first and less in later rounds.
  void ask_choice() {
    const int best = cheapest();
    std::vector<PredictedAssignment> front = predict_front(fitted(), problem.cost);
    const double dearest = best >= 0 ? checked[best].cost : front.front().cost * (1 + 1e-9);
    double failed = 0;  // the dearest that was too much since something better was found
    for (std::size_t i = improved; idle > 0 && i < checked.size(); ++i) {
      if (checked[i].cost < dearest) failed = std::max(failed, checked[i].cost);
    }
    const double least = idle > 0 ? (failed + dearest) / 2 : 0;  // where the model is too bold, as bisection does
    std::erase_if(front, [&](const PredictedAssignment& prediction) {
      return index.contains(prediction.assignment) || prediction.cost >= dearest || prediction.cost < least;
    });
    const double allowed = allowed_damage(), spread = std::exp2(-rounds / 2.0);
    constexpr double uncertainty = 0.1;  // of a prediction, as a part of what is allowed; the model's own residuals
    for (int probe = 0; probe < problem.probes && !front.empty(); ++probe) {
      const double position = problem.probes == 1 ? 1.0 : 1.5 * probe / (problem.probes - 1) - 0.5;
      const double target = allowed * (1 + spread * position);
      const auto expected = [&](const PredictedAssignment& prediction) {
        return expected_saving(dearest - prediction.cost, target - prediction.damage, uncertainty * allowed + tiny);
      };
      const auto chosen = std::max_element(
          front.begin(), front.end(),
          [&](const PredictedAssignment& a, const PredictedAssignment& b) { return expected(a) < expected(b); });
      ask("layerwise", chosen->assignment);
      front.erase(chosen);
    }
  }

  /// Neighbours of the best assignment: one layer cheaper, or that and another one dearer. Those with the largest
  /// expected saving come first, which is the saving times the probability of staying within the budget.
  void ask_refinement() {
    const int best = cheapest();
    if (best < 0) return;
    const std::vector<std::vector<double>> damage = fitted();
    const Assignment& from = checked[best].assignment;
    const double room = allowed_damage() - damages[best].mean;
    struct Move {
      int layer, candidate;
      double saving, damage, variance;
    };
    std::vector<Move> cheaper, dearer;
    for (int layer = 0; layer < problem.layers; ++layer) {
      const int now = from[layer];
      for (int candidate = 0; candidate < problem.candidates; ++candidate) {
        if (candidate == now) continue;
        const double saving = problem.cost[layer][now] - problem.cost[layer][candidate];
        const double more = damage[layer][candidate] - damage[layer][now];
        const double variance = model.variance(layer, candidate) + model.variance(layer, now);
        if (saving > 0) cheaper.push_back({layer, candidate, saving, more, variance});
        if (saving < 0 && more < 0) dearer.push_back({layer, candidate, saving, more, variance});
      }
    }
    struct Neighbour {
      Assignment assignment;
      double expected;
    };
    std::vector<Neighbour> neighbours;
    const auto consider = [&](const Move& down, const Move* up) {
      const double saving = down.saving + (up ? up->saving : 0);
      if (saving <= 0) return;
      Neighbour neighbour{from, 0};
      neighbour.assignment[down.layer] = down.candidate;
      if (up) neighbour.assignment[up->layer] = up->candidate;
      if (index.contains(neighbour.assignment)) return;
      const double left = room - down.damage - (up ? up->damage : 0);
      const double deviation = std::sqrt(damages[best].variance + down.variance + (up ? up->variance : 0) + tiny);
      neighbour.expected = expected_saving(saving, left, deviation);
      neighbours.push_back(std::move(neighbour));
    };
    for (const Move& down : cheaper) {
      consider(down, nullptr);
      for (const Move& up : dearer) {
        if (up.layer != down.layer) consider(down, &up);
      }
    }
    const std::size_t count = std::min(neighbours.size(), std::size_t(problem.probes));
    std::partial_sort(neighbours.begin(), neighbours.begin() + std::ptrdiff_t(count), neighbours.end(),
                      [](const Neighbour& a, const Neighbour& b) {
                        return a.expected != b.expected ? a.expected > b.expected : a.assignment < b.assignment;
                      });
    for (std::size_t i = 0; i < count; ++i) ask("layerwise", std::move(neighbours[i].assignment));
  }

  /// Layers by falling damage per saved cost, from the best uniform assignment to the cheapest candidate: the first to
  /// visit is last.
  void order_layers() {
    const int start = cheapest();
    if (start < 0) return;
    std::vector<double> rates(problem.layers);
    for (int layer = 0; layer < problem.layers; ++layer) {
      const int now = checked[start].assignment[layer];
      const std::vector<double>& cost = problem.cost[layer];
      const int least = int(std::min_element(cost.begin(), cost.end()) - cost.begin());
      if (cost[least] >= cost[now]) continue;
      rates[layer] = (model.damage[layer][least].mean - model.damage[layer][now].mean) / (cost[now] - cost[least]);
      order.push_back(layer);
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return rates[a] > rates[b]; });
  }

  /// All cheaper candidates of the next layer of the best assignment.
  void ask_greedy() {
    while (pending.empty() && !order.empty()) {
      const int layer = order.back();
      order.pop_back();
      const Assignment& from = checked[cheapest()].assignment;
      for (int candidate = 0; candidate < problem.candidates; ++candidate) {
        if (problem.cost[layer][candidate] >= problem.cost[layer][from[layer]]) continue;
        Assignment assignment = from;
        assignment[layer] = candidate;
        ask("layerwise", std::move(assignment));
      }
    }
  }

  /// One more round of a phase, unless it has had its rounds or the last ones found nothing better.
  bool goes_on(int most_rounds) {
    const int patience = (problem.patience + problem.probes - 1) / problem.probes;
    if (rounds > 0) idle = cheapest() == best_before ? idle + 1 : 0;
    if (idle == 0) improved = checked.size();
    best_before = cheapest();
    return idle < patience && rounds++ < most_rounds;
  }

  void begin(Phase next) {
    phase = next;
    rounds = idle = 0;
  }

  /// Moves on until something has to be evaluated or the search has ended.
  void advance() {
    while (pending.empty() && phase != Phase::ended) {
      switch (phase) {
        case Phase::probing:
          learn_sensitivities();
          if (problem.policy == SearchPolicy::greedy) order_layers();
          begin(problem.policy == SearchPolicy::greedy ? Phase::greedy : Phase::choice);
          break;
        case Phase::choice:
          if (goes_on(problem.choice_rounds)) ask_choice();
          if (pending.empty()) begin(Phase::refinement);
          break;
        case Phase::refinement:
          if (goes_on(problem.refine_rounds)) ask_refinement();
          if (pending.empty()) begin(Phase::ended);
          break;
        case Phase::greedy:
          ask_greedy();
          if (pending.empty()) begin(Phase::ended);
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
  state_->ask_probes();
}

LayerwiseSearch::~LayerwiseSearch() = default;

std::vector<Question> LayerwiseSearch::next() { return state_->pending; }

bool LayerwiseSearch::hopeless(std::span<const ImageScore> first) const {
  return will_exceed(state_->problem.baseline, first, state_->problem.budget, state_->problem.confident);
}

void LayerwiseSearch::report(const std::vector<std::vector<ImageScore>>& scores) {
  State& state = *state_;
  const SearchProblem& problem = state.problem;
  bool right = scores.size() == state.pending.size();
  for (std::size_t i = 0; right && i < scores.size(); ++i) {
    const Question& question = state.pending[i];
    const int images = int(scores[i].size());
    right = images == question.images ||
            (question.may_stop && images > 0 && images < question.images && hopeless(scores[i]));
  }
  if (!right) {
    throw Error(
        "the layerwise search cannot take these scores",
        fmt::format(
            "{} assignments were reported, {} asked for, with as many images as these or fewer of hopeless ones",
            scores.size(), state.pending.size()),
        "report the scores for what next() gave");
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const std::span<const ImageScore> before = std::span(problem.baseline).first(scores[i].size());
    Checked checked;
    checked.role = state.roles[i];
    checked.assignment = state.pending[i].assignment;
    checked.cost = state.cost_of(checked.assignment);
    checked.accuracy = summarize(scores[i]);
    checked.loss = paired_loss(before, scores[i]);
    checked.complete = scores[i].size() == problem.baseline.size();
    checked.within_budget = checked.complete && is_within(checked.loss, problem.budget, problem.confident);
    if (state.checked.empty()) state.reference_scores = scores[i];
    state.damages.push_back(measure_damage(state.reference_scores, scores[i]));
    state.index.emplace(checked.assignment, int(state.checked.size()));
    state.checked.push_back(std::move(checked));
  }
  state.pending.clear();
  state.roles.clear();
  state.advance();
}

const std::vector<LayerwiseSearch::Checked>& LayerwiseSearch::checked() const { return state_->checked; }

int LayerwiseSearch::uniform() const {
  int best = -1;
  for (int candidate = 0; candidate < state_->problem.candidates; ++candidate) {
    const auto found = state_->index.find(Assignment(state_->problem.layers, candidate));
    if (found == state_->index.end() || !state_->checked[found->second].within_budget) continue;
    if (best < 0 || state_->checked[found->second].cost < state_->checked[best].cost) best = found->second;
  }
  return best;
}

int LayerwiseSearch::layerwise() const { return state_->cheapest(); }

int LayerwiseSearch::sensitivity(int layer, int candidate) const {
  if (layer < 0 || layer >= state_->problem.layers || candidate < 0 || candidate >= state_->problem.candidates) {
    throw Error(
        fmt::format("no sensitivity of layer {} to candidate {}", layer, candidate),
        fmt::format("the search has {} layers and {} candidates", state_->problem.layers, state_->problem.candidates),
        "use an index in that range");
  }
  const auto found = state_->index.find(state_->alone(layer, candidate));
  return found == state_->index.end() ? -1 : found->second;
}

}  // namespace bitcluster
