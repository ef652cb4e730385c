#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <set>

#include "host/base/error.hpp"
#include "host/search/front.hpp"
#include "host/search/layerwise_search.hpp"

namespace bitcluster {
namespace {

constexpr int images = 2000;

/// A network in which every layer at every candidate does some damage. Image i is right while the total damage is below
/// i / images, and the probability of the label falls by the root of the damage, so that both the loss of accuracy and
/// the mean squared change of that probability are the damage.
struct Model {
  std::vector<std::vector<double>> damage;  //!< (layers, candidates)
  double interaction = 0;                   //!< extra damage per pair of neighbours that are both at candidate 0

  double total(const Assignment& assignment) const {
    double sum = 0;
    for (std::size_t layer = 0; layer < assignment.size(); ++layer) {
      if (assignment[layer] != reference_choice) sum += damage[layer][assignment[layer]];
      if (layer > 0 && assignment[layer] == 0 && assignment[layer - 1] == 0) sum += interaction;
    }
    return sum;
  }

  static std::vector<ImageScore> scores(double damage) {
    std::vector<ImageScore> result(images);
    const float cross_entropy = float(-std::log(1 - std::sqrt(std::min(damage, 0.99))));
    for (int i = 0; i < images; ++i) {
      const int place = i * 1237 % images;  // in no order: the first images stand for all
      result[place] = {std::uint8_t(damage <= double(i) / images), 1, 0, cross_entropy};
    }
    return result;
  }

  std::vector<ImageScore> evaluate(const Assignment& assignment) const { return scores(total(assignment)); }
};

SearchProblem problem_of(const Model& model, std::vector<std::vector<double>> cost, double budget) {
  SearchProblem problem;
  problem.layers = int(cost.size());
  problem.candidates = int(cost[0].size());
  problem.cost = std::move(cost);
  problem.budget = budget;
  problem.confident = false;
  problem.baseline = model.evaluate(Assignment(problem.layers, reference_choice));
  return problem;
}

/// Runs a search to its end; returns the number of evaluations. Those that may stop do so after a quarter of the images
/// where they are hopeless.
int run(LayerwiseSearch& search, const Model& model) {
  int evaluations = 0;
  for (std::vector<Question> asked = search.next(); !asked.empty(); asked = search.next()) {
    EXPECT_EQ(search.next(), asked);
    std::vector<std::vector<ImageScore>> scores;
    for (const Question& question : asked) {
      scores.push_back(model.evaluate(question.assignment));
      scores.back().resize(question.images);
      const std::span<const ImageScore> some = std::span(scores.back()).first(images / 4);
      if (question.may_stop && search.hopeless(some)) scores.back().resize(images / 4);
    }
    search.report(scores);
    evaluations += int(asked.size());
  }
  return evaluations;
}

/// Cheapest cost of all assignments that keep the loss within the budget, by trying all of them.
double brute_force(const Model& model, const SearchProblem& problem) {
  double best = std::numeric_limits<double>::infinity();
  Assignment assignment(problem.layers, 0);
  for (;;) {
    double cost = 0;
    for (int layer = 0; layer < problem.layers; ++layer) cost += problem.cost[layer][assignment[layer]];
    if (cost < best && paired_loss(problem.baseline, model.evaluate(assignment)).loss <= problem.budget) best = cost;
    int layer = 0;
    while (layer < problem.layers && ++assignment[layer] == problem.candidates) assignment[layer++] = 0;
    if (layer == problem.layers) return best;
  }
}

Model random_model(int layers, int candidates, std::mt19937& generator) {
  std::uniform_real_distribution<double> uniform(0, 1);
  Model model;
  for (int layer = 0; layer < layers; ++layer) {
    const double sensitivity = 0.02 * uniform(generator);
    model.damage.emplace_back();
    // float32 keeps sums of these exactly
    for (int c = 0; c < candidates; ++c) {
      model.damage.back().push_back(std::round(sensitivity * std::pow(0.3, c) * (1 << 20)) / (1 << 20));
    }
  }
  return model;
}

std::vector<std::vector<double>> random_cost(int layers, int candidates, std::mt19937& generator) {
  std::uniform_int_distribution<int> size(1, 50);
  std::vector<std::vector<double>> cost;
  for (int layer = 0; layer < layers; ++layer) {
    const int cycles = size(generator);
    cost.emplace_back();
    for (int c = 0; c < candidates; ++c) cost.back().push_back(double(cycles) * (c + 1));
  }
  return cost;
}

bool throws(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error&) {
    return true;
  }
  return false;
}

TEST(Search, FindsTheBruteForceOptimumWhenDamageAdds) {
  std::mt19937 generator(1);
  int better_than_uniform = 0, optimal = 0, found = 0;
  for (int repeat = 0; repeat < 40; ++repeat) {
    const Model model = random_model(6, 4, generator);
    SearchProblem problem = problem_of(model, random_cost(6, 4, generator), 0.01);
    LayerwiseSearch search(problem);
    run(search, model);
    const double best = brute_force(model, problem);
    ASSERT_EQ(std::isinf(best), search.layerwise() < 0);
    if (search.layerwise() < 0) continue;
    ++found;
    optimal += search.checked()[search.layerwise()].cost == best;
    EXPECT_LE(search.checked()[search.layerwise()].cost, 1.1 * best) << repeat;
    better_than_uniform +=
        search.uniform() < 0 || search.checked()[search.layerwise()].cost < search.checked()[search.uniform()].cost;
  }
  EXPECT_GT(better_than_uniform, 20);
  EXPECT_GE(optimal, 0.8 * found);
  RecordProperty("optimal", optimal);
}

TEST(Search, DefaultsComeCloseToTheOptimumWhenDamageInteracts) {
  std::mt19937 generator(2);
  for (int repeat = 0; repeat < 40; ++repeat) {
    Model model = random_model(6, 3, generator);
    model.interaction = 0.001;
    const SearchProblem problem = problem_of(model, random_cost(6, 3, generator), 0.01);
    LayerwiseSearch search(problem);
    run(search, model);
    const double best = brute_force(model, problem);
    if (search.layerwise() < 0) continue;
    const LayerwiseSearch::Checked& found = search.checked()[search.layerwise()];
    EXPECT_TRUE(found.within_search && search.within_budget(search.layerwise()));
    EXPECT_GE(found.cost, best);
    // the interaction is a tenth of the budget: a wrong prediction costs a step or two of a single layer
    EXPECT_LE(found.cost, 1.25 * best);
    if (search.uniform() >= 0) {
      EXPECT_LE(found.cost, search.checked()[search.uniform()].cost);
    }
  }
}

TEST(Search, RefinementSwapsOneLayerForAnother) {
  // 0.006 fits the budget, 0.012 does not. The best uniform assignment has both layers dear; making layer 0 cheap saves
  // most, but only together with layer 1 dearer still does it fit
  const Model model{{{0.009, 0.003, 0.003}, {0.009, 0.003, 0.0}}};
  SearchProblem problem = problem_of(model, {{1, 10, 20}, {1, 3, 5}}, 0.0095);
  problem.choice_rounds = 0;
  problem.refine_rounds = 0;
  LayerwiseSearch without(problem);
  run(without, model);
  EXPECT_EQ(without.checked()[without.layerwise()].assignment, (Assignment{1, 1}));
  problem.refine_rounds = 3;
  LayerwiseSearch refined(problem);
  run(refined, model);
  EXPECT_EQ(refined.checked()[refined.layerwise()].assignment, (Assignment{0, 2}));
}

TEST(Search, TheModelLearnsFromWholeAssignments) {
  // alone, each layer seems to do 0.008 at candidate 0; together, no damage adds: the sensitivities allow one layer of
  // three, checks of whole assignments teach that all are allowed
  struct Saturating {
    std::vector<ImageScore> evaluate(const Assignment& assignment) const {
      const int cheap = int(std::count(assignment.begin(), assignment.end(), 0));
      return Model::scores(cheap == 3 ? 1 : cheap > 0 ? 0.008 : 0);
    }
  } model;
  SearchProblem problem;
  problem.layers = 3;
  problem.candidates = 2;
  problem.cost = {{1, 2}, {1, 2}, {1, 2}};
  problem.confident = false;
  problem.budget = 0.009;
  problem.baseline = Model::scores(0);
  LayerwiseSearch search(problem);
  for (std::vector<Question> asked = search.next(); !asked.empty(); asked = search.next()) {
    std::vector<std::vector<ImageScore>> scores;
    for (const Question& question : asked) scores.push_back(model.evaluate(question.assignment));
    search.report(scores);
  }
  EXPECT_EQ(search.checked()[search.layerwise()].cost, 4);  // two cheap layers
}

TEST(Search, GreedyVisitsLayersByDamagePerSavedCost) {
  // per unit of cost saved at candidate 0: 0.004, 0.001, 0.003; only uniform 1 is within the budget
  const Model model{{{0.004, 0}, {0.005, 0}, {0.006, 0}}};
  SearchProblem problem = problem_of(model, {{1, 2}, {1, 6}, {1, 3}}, 0.0095);
  problem.policy = SearchPolicy::greedy;
  LayerwiseSearch search(problem);
  run(search, model);
  std::vector<Assignment> tried;
  for (const auto& checked : search.checked()) {
    if (checked.role == "layerwise") tried.push_back(checked.assignment);
  }
  // layer 1 fits; with it layer 2 does not, and layer 0 does
  EXPECT_EQ(tried, (std::vector<Assignment>{{1, 0, 1}, {1, 0, 0}, {0, 0, 1}}));
  EXPECT_EQ(search.checked()[search.layerwise()].assignment, (Assignment{0, 0, 1}));
}

TEST(Search, GreedyEndsWithoutAUniformAssignment) {
  const Model model{{{0.5, 0.4}, {0.5, 0.0}}};
  SearchProblem problem = problem_of(model, {{1, 2}, {1, 2}}, 0.01);
  problem.policy = SearchPolicy::greedy;
  LayerwiseSearch search(problem);
  run(search, model);
  EXPECT_EQ(search.layerwise(), -1);
}

TEST(Search, SensitivitiesOnTheFirstImages) {
  const Model model{{{0.3, 0.001}, {0.002, 0}}};
  SearchProblem problem = problem_of(model, {{1, 2}, {1, 2}}, 0.01);
  problem.sensitivity_images = 500;
  LayerwiseSearch search(problem);
  for (const Question& question : search.next()) {
    const bool whole = std::count(question.assignment.begin(), question.assignment.end(), reference_choice) != 1;
    EXPECT_EQ(question.images, whole ? images : 500);
    EXPECT_EQ(question.may_stop, whole && question.assignment[0] != reference_choice);
  }
  run(search, model);
  const auto& entry = search.checked()[search.sensitivity(0, 1)];
  EXPECT_EQ(entry.accuracy.images, 500);
  EXPECT_FALSE(entry.complete || entry.within_search);
  EXPECT_EQ(search.checked()[search.layerwise()].assignment, (Assignment{1, 0}));
}

TEST(Search, TheNumberOfEvaluationsIsBounded) {
  std::mt19937 generator(3);
  const Model model = random_model(50, 5, generator);
  const SearchProblem problem = problem_of(model, random_cost(50, 5, generator), 0.01);
  LayerwiseSearch search(problem);
  const int evaluations = run(search, model);
  EXPECT_LE(evaluations, 1 + 5 + 50 * 5 + problem.probes * (problem.choice_rounds + problem.refine_rounds));
  std::set<Assignment> different;
  for (const auto& checked : search.checked()) different.insert(checked.assignment);
  EXPECT_EQ(int(different.size()), evaluations);
  EXPECT_EQ(int(search.checked().size()), evaluations);
  ASSERT_GE(search.layerwise(), 0);
}

TEST(Search, NothingWithinTheBudget) {
  const Model model{{{0.5, 0.4}, {0.5, 0.4}}};
  LayerwiseSearch search(problem_of(model, {{1, 2}, {1, 2}}, 0.01));
  run(search, model);
  EXPECT_EQ(search.uniform(), -1);
  EXPECT_EQ(search.layerwise(), -1);
}

TEST(Search, BudgetZeroTakesOnlyWhatDoesNoDamage) {
  const Model model{{{0.1, 0}, {0, 0}, {0.2, 0}}};
  LayerwiseSearch search(problem_of(model, {{1, 2}, {10, 20}, {5, 7}}, 0));
  run(search, model);
  ASSERT_GE(search.layerwise(), 0);
  EXPECT_EQ(search.checked()[search.layerwise()].assignment, (Assignment{1, 0, 1}));
  EXPECT_EQ(search.checked()[search.layerwise()].cost, 2 + 10 + 7);
  EXPECT_EQ(search.checked()[search.uniform()].assignment, (Assignment{1, 1, 1}));
}

TEST(Search, ConfidentAsksForTheUpperEndOfTheInterval) {
  // a damage of 0.008 loses 16 of 2000 images: interval up to (16 + z sqrt(17 - ...)) / 2002 = 0.0120
  const Model model{{{0.008, 0.0}}};
  SearchProblem problem = problem_of(model, {{1, 2}}, 0.01);
  LayerwiseSearch mean(problem);
  run(mean, model);
  EXPECT_EQ(mean.checked()[mean.layerwise()].assignment, Assignment{0});
  problem.confident = true;
  LayerwiseSearch confident(problem);
  run(confident, model);
  EXPECT_EQ(confident.checked()[confident.layerwise()].assignment, Assignment{1});
}

TEST(Search, OneLayerAndOneCandidate) {
  const Model one_layer{{{0.5, 0.001, 0}}};
  LayerwiseSearch search(problem_of(one_layer, {{1, 2, 3}}, 0.01));
  EXPECT_EQ(run(search, one_layer), 4);  // reference and three candidates, which are their own sensitivity
  EXPECT_EQ(search.checked()[search.layerwise()].assignment, Assignment{1});
  EXPECT_EQ(search.layerwise(), search.uniform());
  EXPECT_EQ(search.checked()[search.sensitivity(0, 2)].assignment, Assignment{2});

  const Model one_candidate{{{0.001}, {0.002}}};
  LayerwiseSearch single(problem_of(one_candidate, {{1}, {2}}, 0.01));
  EXPECT_EQ(run(single, one_candidate), 4);
  EXPECT_EQ(single.checked()[single.layerwise()].cost, 3);
}

TEST(Search, SensitivityAndRoles) {
  const Model model{{{0.3, 0.001}, {0.002, 0}}};
  LayerwiseSearch search(problem_of(model, {{1, 2}, {1, 2}}, 0.01));
  EXPECT_EQ(search.sensitivity(0, 0), -1);
  run(search, model);
  const auto& checked = search.checked();
  EXPECT_EQ(checked[0].role, "reference");
  EXPECT_TRUE(std::isnan(checked[0].cost));
  EXPECT_EQ(checked[1].role, "uniform");
  EXPECT_EQ(checked[1].cost, 2);
  const int entry = search.sensitivity(1, 0);
  EXPECT_EQ(checked[entry].role, "sensitivity");
  EXPECT_EQ(checked[entry].assignment, (Assignment{reference_choice, 0}));
  EXPECT_NEAR(checked[entry].loss.loss, 0.002, 1e-12);
  EXPECT_EQ(checked[search.layerwise()].role, "layerwise");
  EXPECT_EQ(checked[search.layerwise()].assignment, (Assignment{1, 0}));
  EXPECT_TRUE(throws([&] { search.sensitivity(2, 0); }));
  EXPECT_TRUE(throws([&] { search.sensitivity(0, 2); }));
}

TEST(Search, SameQuestionsEveryTime) {
  std::mt19937 generator(5);
  Model model = random_model(20, 4, generator);
  model.interaction = 0.0005;
  const SearchProblem problem = problem_of(model, random_cost(20, 4, generator), 0.01);
  LayerwiseSearch first(problem), second(problem);
  run(first, model);
  run(second, model);
  ASSERT_EQ(first.checked().size(), second.checked().size());
  for (std::size_t i = 0; i < first.checked().size(); ++i) {
    EXPECT_EQ(first.checked()[i].assignment, second.checked()[i].assignment);
  }
  EXPECT_EQ(first.layerwise(), second.layerwise());
}

TEST(Search, WrongReportsAreRejectedAndHarmless) {
  const Model model{{{0.001, 0, 0.5}}};
  LayerwiseSearch search(problem_of(model, {{1, 2, 3}}, 0.01));
  const std::vector<Question> asked = search.next();
  std::vector<std::vector<ImageScore>> scores;
  for (const Question& question : asked) scores.push_back(model.evaluate(question.assignment));
  std::vector<std::vector<ImageScore>> short_of_one(scores.begin(), scores.end() - 1), short_of_images = scores;
  short_of_images[1].resize(images / 2);  // which may stop, but is not hopeless
  EXPECT_TRUE(throws([&] { search.report(short_of_one); }));
  EXPECT_TRUE(throws([&] { search.report(short_of_images); }));
  EXPECT_EQ(search.next(), asked);
  ASSERT_EQ(asked[3].assignment, Assignment{2});
  scores[3].resize(images / 2);  // which is
  search.report(scores);
  EXPECT_FALSE(search.checked()[3].complete);
  EXPECT_EQ(search.layerwise(), 1);
}

TEST(Search, RejectsImpossibleProblems) {
  const Model model{{{0.001, 0}}};
  const SearchProblem good = problem_of(model, {{1, 2}}, 0.01);
  const auto rejected = [&](const std::function<void(SearchProblem&)>& spoil) {
    SearchProblem problem = good;
    spoil(problem);
    return throws([&] { LayerwiseSearch search(problem); });
  };
  EXPECT_FALSE(rejected([](SearchProblem&) {}));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.layers = 0; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.layers = 2; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.candidates = 3; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.cost[0][1] = NAN; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.budget = -0.1; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.probes = 0; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.patience = 0; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.sensitivity_images = -1; }));
  EXPECT_TRUE(rejected([](SearchProblem& problem) { problem.baseline.clear(); }));
}

TEST(Pareto, ByHand) {
  EXPECT_EQ(pareto({{0.1, 5}, {0.2, 3}, {0.3, 3}, {0.2, 4}, {0.0, NAN}, {0.2, 3}}),
            (std::vector<bool>{true, true, false, false, false, false}));
  // a third coordinate keeps what the first two would not
  EXPECT_EQ(pareto({{1, 1, 5}, {2, 2, 4}, {2, 2, 6}, {1, 1, 5}}), (std::vector<bool>{true, true, false, false}));
  EXPECT_TRUE(pareto({}).empty());
}

}  // namespace
}  // namespace bitcluster
