#include "host/search/layerwise_search.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>

#include "host/base/error.hpp"
#include "host/search/damage_model.hpp"
#include "host/search/front.hpp"
#include "host/search/loss_model.hpp"
#include "host/search/neighbours.hpp"

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
  enum class Phase { probing, choice, refinement, greedy, validation, ended };

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

  /// Whether an assignment is within the budget by the search images. Where there are validation images: only if it is
  /// so by what its damage does to accuracy in general, too, for of many assignments those win whose luck with the
  /// search images is best.
  bool seems_within(const Checked& one, const Limit& at) const {
    if (!one.within_search) return false;
    return problem.validation_baseline.empty() || damages[std::size_t(&one - checked.data())].mean <= at.safe;
  }

  /// Whether the validation images say otherwise.
  bool is_refuted(const Checked& one) const { return one.validation && one.validation->loss > problem.budget; }

  /// Whether an assignment counts as within the budget: once validation has begun, only if that has confirmed it.
  bool counts(const Checked& one, const Limit& at) const {
    const bool has_to_be_confirmed =
        !problem.validation_baseline.empty() && (phase == Phase::validation || phase == Phase::ended);
    return seems_within(one, at) && (!has_to_be_confirmed || (one.validation && !is_refuted(one)));
  }

  bool is_uniform(const Checked& one) const {
    return one.assignment[0] != reference_choice &&
           std::ranges::all_of(one.assignment, [&](int choice) { return choice == one.assignment[0]; });
  }

  /// Of those for which `wanted` holds the one of the least value, the first of equal ones; NaN is none. -1 without.
  int least(const std::function<bool(const Checked&)>& wanted,
            const std::function<double(const Checked&)>& value) const {
    int best = -1;
    for (int i = 0; i < int(checked.size()); ++i) {
      if (!std::isnan(checked[i].cost) && wanted(checked[i]) &&
          (best < 0 || value(checked[i]) < value(checked[best]))) {
        best = i;
      }
    }
    return best;
  }

  /// The cheapest assignment that counts as within the budget and is wanted.
  int cheapest(const std::function<bool(const Checked&)>& wanted) const {
    const Limit at = limit();
    return least([&](const Checked& one) { return wanted(one) && counts(one, at); },
                 [](const Checked& one) { return one.cost; });
  }
  int cheapest() const {
    return cheapest([](const Checked&) { return true; });
  }

  /// By how much an assignment is beyond the budget on the search images.
  double excess(const Checked& one) const {
    return (problem.confident ? one.loss.high : one.loss.loss) - problem.budget;
  }
  /// And on the images where it is so by more.
  double largest_excess(const Checked& one) const {
    return one.validation ? std::max(excess(one), one.validation->loss - problem.budget) : excess(one);
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

  /// What the loss model sees.
  std::vector<LossCheck> seen() const {
    std::vector<LossCheck> all;
    for (std::size_t i = 0; i < checked.size(); ++i) {
      const Checked& one = checked[i];
      all.push_back({&one.assignment, damages[i], excess(one), one.accuracy.images, one.complete,
                     one.role == "sensitivity", !std::isnan(one.cost)});
    }
    return all;
  }
  Limit limit() const { return find_limit(seen(), problem.budget, int(problem.baseline.size())); }

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
    for (const Checked& one : checked) {
      if (is_refuted(one) && one.cost < dearest) failed = std::max(failed, one.cost);
    }
    const double least = failed > 0 ? (failed + dearest) / 2 : 0;  // where the model is too bold, as bisection does
    std::erase_if(front, [&](const PredictedAssignment& prediction) {
      return index.contains(prediction.assignment) || prediction.cost >= dearest || prediction.cost < least;
    });
    const double allowed = limit().allowed, spread = std::exp2(-rounds / 2.0);
    constexpr double uncertainty = 0.1;  // of a prediction, as a part of what is allowed; the model's own residuals
    for (int probe = 0; probe < problem.probes && !front.empty(); ++probe) {
      const double position = problem.probes == 1 ? 1.0 : 1.5 * probe / (problem.probes - 1) - 0.5;
      const double target = allowed * (1 + spread * position);
      const auto expected = [&](const PredictedAssignment& prediction) {
        return (dearest - prediction.cost) * upper_tail((prediction.damage - target) / (uncertainty * allowed + tiny));
      };
      const auto chosen = std::max_element(
          front.begin(), front.end(),
          [&](const PredictedAssignment& a, const PredictedAssignment& b) { return expected(a) < expected(b); });
      ask("layerwise", chosen->assignment);
      front.erase(chosen);
    }
  }

  /// Neighbours of the cheapest assignments within the budget.
  void ask_refinement() {
    const int best = cheapest();
    if (best < 0) return;
    constexpr double similar_cost = 1.05;  // against the best: others within it are tried from, too
    constexpr std::size_t most_starts = 3;
    std::vector<int> starts;
    const Limit at = limit();
    for (int i = 0; i < int(checked.size()); ++i) {
      if (counts(checked[i], at) && checked[i].cost <= similar_cost * checked[best].cost) starts.push_back(i);
    }
    std::ranges::stable_sort(starts, {}, [&](int i) { return checked[i].cost; });
    starts.resize(std::min(starts.size(), most_starts));
    std::vector<StartingPoint> from;
    for (const int i : starts) from.push_back({&checked[i].assignment, -excess(checked[i])});
    LossShares shares = share_losses(seen(), fitted(), at, int(problem.baseline.size()));
    const MoveModel moves{std::move(shares.loss), std::move(shares.variance), problem.cost, checked[best].cost};
    const auto known = [&](const Assignment& assignment) { return index.contains(assignment); };
    for (Assignment& neighbour : propose_neighbours(from, moves, known, problem.probes)) {
      ask("layerwise", std::move(neighbour));
    }
  }

  /// The cheapest assignments, and the cheapest uniform one, that the validation images have not been asked about.
  /// Where those that were too much there leave a gap to what is within, assignments between them on the search images.
  void ask_validation() {
    const Limit at = limit();
    const auto ask_cheapest = [&](const std::function<bool(const Checked&)>& wanted, int most) {
      const int confirmed = cheapest(wanted);
      std::vector<int> open;
      for (int i = 0; i < int(checked.size()); ++i) {
        const Checked& one = checked[i];
        if (wanted(one) && seems_within(one, at) && !one.validation && !std::isnan(one.cost) &&
            (confirmed < 0 || one.cost < checked[confirmed].cost)) {
          open.push_back(i);
        }
      }
      std::ranges::stable_sort(open, {}, [&](int i) { return checked[i].cost; });
      for (int k = 0; k < std::min(most, int(open.size())); ++k) {
        const Question question{checked[open[k]].assignment, int(problem.validation_baseline.size()), false, true};
        if (std::ranges::find(pending, question) != pending.end()) continue;
        pending.push_back(question);
        roles.push_back("validation");
      }
    };
    ask_cheapest([&](const Checked& one) { return is_uniform(one); }, 1);
    ask_cheapest([](const Checked&) { return true; }, problem.probes);
    if (!pending.empty()) return;
    const int best = cheapest();
    const bool refuted = std::ranges::any_of(
        checked, [&](const Checked& one) { return is_refuted(one) && (best < 0 || one.cost < checked[best].cost); });
    if (refuted && goes_on(problem.choice_rounds)) ask_choice();
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
      const int best = cheapest();  // what was within the budget may be no more, by what later checks show
      if (best < 0) return;
      const Assignment& from = checked[best].assignment;
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
          if (pending.empty()) begin(Phase::validation);
          break;
        case Phase::greedy:
          ask_greedy();
          if (pending.empty()) begin(Phase::validation);
          break;
        case Phase::validation:
          if (!problem.validation_baseline.empty()) ask_validation();
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
    if (state.pending[i].validation) {
      Checked& known = state.checked[state.index.at(state.pending[i].assignment)];
      known.validation = paired_loss(problem.validation_baseline, scores[i]);
      continue;
    }
    const std::span<const ImageScore> before = std::span(problem.baseline).first(scores[i].size());
    Checked checked;
    checked.role = state.roles[i];
    checked.assignment = state.pending[i].assignment;
    checked.cost = state.cost_of(checked.assignment);
    checked.accuracy = summarize(scores[i]);
    checked.loss = paired_loss(before, scores[i]);
    checked.complete = scores[i].size() == problem.baseline.size();
    checked.within_search = checked.complete && is_within(checked.loss, problem.budget, problem.confident);
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

bool LayerwiseSearch::within_budget(int index) const {
  const Checked& one = state_->checked.at(static_cast<std::size_t>(index));
  return state_->seems_within(one, state_->limit()) && !state_->is_refuted(one);
}

int LayerwiseSearch::uniform() const {
  return state_->cheapest([&](const Checked& one) { return state_->is_uniform(one); });
}

int LayerwiseSearch::layerwise() const { return state_->cheapest(); }

int LayerwiseSearch::nearest_uniform() const {
  return state_->least([&](const Checked& one) { return state_->is_uniform(one); },
                       [&](const Checked& one) { return state_->largest_excess(one); });
}

int LayerwiseSearch::nearest_layerwise() const {
  return state_->least([](const Checked&) { return true; },
                       [&](const Checked& one) { return state_->largest_excess(one); });
}

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
