#include "harness/study/candidate_search.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "host/search/front.hpp"

namespace bitcluster {
namespace {

double cost_of(const LayerEmulation& emulation, const std::string& minimise) {
  if (minimise == "energy") return emulation.energy.total();
  // the product is taken layer by layer so that costs stay additive
  if (minimise == "energy_delay") return emulation.energy.total() * double(emulation.cycles);
  return double(emulation.cycles);
}

/// The only layer that an assignment of a sensitivity changes.
int changed_layer(const Assignment& assignment) {
  const auto changed =
      std::find_if(assignment.begin(), assignment.end(), [](int choice) { return choice != reference_choice; });
  return int(changed - assignment.begin());
}

}  // namespace

EvaluationRow evaluation_row(const CandidateWeights& weights, const JudgedImages& judged, const std::string& assignment,
                             const Assignment* choices, std::span<const ImageScore> scores, double seconds) {
  const Accuracy accuracy = summarize(scores);
  const PairedLoss loss = paired_loss(std::span(judged.baseline).first(scores.size()), scores);
  EvaluationRow row{.model = weights.model().name(),
                    .assignment = assignment,
                    .weights = "float",
                    .encoding = "",
                    .rounding = "",
                    .terms_mean = 0,
                    .terms_per_product = 0,
                    .split = judged.images->split,
                    .images = accuracy.images,
                    .top1 = accuracy.top1,
                    .top5 = accuracy.top5,
                    .cross_entropy = accuracy.cross_entropy,
                    .loss = loss.loss,
                    .loss_low = loss.low,
                    .loss_high = loss.high,
                    .seconds = seconds};
  if (choices) {
    const WeightFormat& format = weights.format(*std::max_element(choices->begin(), choices->end()));
    row.weights = format.preparation->name;
    row.encoding = to_string(format.encoding);
    row.rounding = to_string(format.rounding);
    const MeanTerms terms = weights.mean_terms(*choices);
    row.terms_mean = terms.per_weight;
    row.terms_per_product = terms.per_product;
  }
  return row;
}

std::vector<ScoreExtent> extents_of(std::span<const Question> questions, bool early_stop) {
  std::vector<ScoreExtent> extents;
  for (const Question& question : questions) extents.push_back({question.images, question.may_stop && early_stop});
  return extents;
}

SearchProblem search_problem(const Config::SearchOptions& options, int layers, int candidates,
                             std::span<const LayerEmulation> costs, std::vector<ImageScore> baseline,
                             std::vector<ImageScore> validation_baseline) {
  SearchProblem problem;
  problem.layers = layers;
  problem.candidates = candidates;
  problem.budget = options.budget;
  problem.confident = options.confident;
  problem.policy = options.policy;
  problem.probes = options.probes;
  problem.choice_rounds = options.choice_rounds;
  problem.refine_rounds = options.refine_rounds;
  problem.patience = options.patience;
  constexpr int usual = 512;  // or all, if they are fewer
  problem.sensitivity_images = options.sensitivity_images.value_or(usual);
  problem.baseline = std::move(baseline);
  problem.validation_baseline = std::move(validation_baseline);
  problem.cost.resize(std::size_t(layers));
  for (std::size_t i = 0; i < costs.size(); ++i) {
    problem.cost[i / candidates].push_back(cost_of(costs[i], options.minimise));
  }
  return problem;
}

std::vector<std::string> searched_names(const Preparation& preparation) {
  std::vector<std::string> names;
  for (const std::string_view name : {preparation.uniform, preparation.layerwise}) {
    if (!name.empty()) names.emplace_back(name);
  }
  return names;
}

void add_search_costs(int model, int layers, int first, int candidates, const Accelerator& design,
                      EmulationList& list) {
  for (int layer = 0; layer < layers; ++layer) {
    for (int candidate = first; candidate < first + candidates; ++candidate) {
      list.tasks.push_back(
          {.row = list.rows.size(), .model = model, .accelerator = &design, .layer = layer, .choice = candidate});
      list.rows.emplace_back();
    }
  }
}

CandidateSearch::CandidateSearch(CandidateWeights& weights, int first, int count, const Accelerator& design,
                                 const Config::SearchOptions& options)
    : weights_(weights), first_(first), count_(count), design_(design), options_(options) {}

void CandidateSearch::add_costs(int model, EmulationList& list) const {
  add_search_costs(model, int(weights_.model().layers().size()), first_, count_, design_, list);
}

void CandidateSearch::start(std::vector<LayerEmulation> costs, const SearchImages& images) {
  costs_ = std::move(costs);
  images_ = &images;
  const int layers = int(weights_.model().layers().size());
  search_ = std::make_unique<LayerwiseSearch>(
      search_problem(options_, layers, count_, costs_, images.choosing.baseline, images.confirming.baseline));
}

/// Candidates of the search as choices of the weights.
Assignment CandidateSearch::shifted(Assignment assignment) const {
  for (int& choice : assignment) choice += choice == reference_choice ? 0 : first_;
  return assignment;
}

std::optional<ScoreRequest> CandidateSearch::next() {
  const std::vector<Question> questions = search_->next();
  if (questions.empty()) return std::nullopt;
  ++round_;
  const PreparedModel& model = weights_.model();
  const JudgedImages& judged = questions[0].validation ? images_->confirming : images_->choosing;
  ScoreRequest request{model.backend(), model.integer(), judged.images, {}};
  for (const Question& question : questions) request.variants.push_back(weights_.variant(shifted(question.assignment)));
  request.extents = extents_of(questions, options_.early_stop);
  request.stop = [search = search_.get()](std::span<const ImageScore> some) { return search->hopeless(some); };
  return request;
}

std::string CandidateSearch::name_of(const LayerwiseSearch::Checked& checked, int choice) const {
  const std::string prefix(preparation().prefix);
  if (checked.role == "reference") return std::string(plain_weights.name);
  if (checked.role == "uniform") return prefix + weights_.name_of(shifted(checked.assignment)[0]);
  return fmt::format("{}round {} choice {}", prefix, round_, choice);
}

void CandidateSearch::take(const Scores& scores, double seconds, Results& results) {
  const std::vector<Question> asked = search_->next();
  search_->report(scores);
  const std::vector<LayerwiseSearch::Checked>& checked = search_->checked();
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const bool confirms = asked[i].validation;
    const auto known = std::ranges::find(checked, asked[i].assignment, &LayerwiseSearch::Checked::assignment);
    if (!confirms) names_.push_back(name_of(*known, int(i + 1)));
    if (known->role == "sensitivity") {
      add_sensitivity(*known, results);
      continue;
    }
    // the reference is in the table once, with BitCluster's search
    if (known->role == "reference" && &preparation() != &bitcluster_weights) continue;
    const Assignment assignment = shifted(asked[i].assignment);
    results.evaluations.push_back(evaluation_row(weights_, confirms ? images_->confirming : images_->choosing,
                                                 names_[known - checked.begin()], &assignment, scores[i], seconds));
    if (known->role == "reference") continue;
    results.evaluations.back().budget = options_.budget;
    results.evaluations.back().within_budget =
        confirms ? known->validation->loss <= options_.budget : known->within_search;
  }
}

void CandidateSearch::add_sensitivity(const LayerwiseSearch::Checked& checked, Results& results) const {
  const int layer = changed_layer(checked.assignment);
  const WeightFormat& format = weights_.format(first_ + checked.assignment[layer]);
  results.sensitivity.push_back({.model = weights_.model().name(),
                                 .layer = weights_.model().layer_name(layer),
                                 .weights = std::string(format.preparation->name),
                                 .bits = format.bits,
                                 .encoding = to_string(format.encoding),
                                 .rounding = to_string(format.rounding),
                                 .terms = format.terms,
                                 .split = images_->choosing.images->split,
                                 .images = checked.accuracy.images,
                                 .top1 = checked.accuracy.top1,
                                 .cross_entropy = checked.accuracy.cross_entropy,
                                 .loss = checked.loss.loss,
                                 .loss_low = checked.loss.low,
                                 .loss_high = checked.loss.high});
}

std::vector<NamedAssignment> CandidateSearch::finish(Results& results) {
  add_front(results);
  std::vector<NamedAssignment> found;
  const auto add = [&](std::string_view name, int within, int nearest) {
    if (name.empty()) return;
    const Assignment& choices = search_->checked()[within < 0 ? nearest : within].assignment;
    found.push_back({std::string(name), shifted(choices), &preparation(), options_.budget, within >= 0});
    const auto rows = weights_.rows(found.back());
    results.assignments.insert(results.assignments.end(), rows.begin(), rows.end());
  };
  add(preparation().uniform, search_->uniform(), search_->nearest_uniform());
  add(preparation().layerwise, search_->layerwise(), search_->nearest_layerwise());
  return found;
}

/// Rows of /front and its assignments: of what was checked on the whole search split, what nothing else beats in top-1
/// accuracy, cycles and energy together; what is within the budget is beaten only by what is so, too.
void CandidateSearch::add_front(Results& results) const {
  const std::vector<LayerwiseSearch::Checked>& checked = search_->checked();
  std::vector<std::vector<double>> points;  // (checked, 4): wrong images, cycles, energy, whether beyond the budget
  for (std::size_t i = 0; i < checked.size(); ++i) {
    const LayerwiseSearch::Checked& one = checked[i];
    std::vector<double> point(4, not_available);
    if (one.complete && !std::isnan(one.cost)) {
      point = {1 - one.accuracy.top1, 0, 0, search_->within_budget(int(i)) ? 0.0 : 1.0};
      for (std::size_t layer = 0; layer < one.assignment.size(); ++layer) {
        const LayerEmulation& emulation = costs_[layer * count_ + one.assignment[layer]];
        point[1] += double(emulation.cycles);
        point[2] += emulation.energy.total();
      }
    }
    points.push_back(std::move(point));
  }
  const std::vector<bool> on_front = pareto(points);
  for (std::size_t i = 0; i < checked.size(); ++i) {
    if (!on_front[i]) continue;
    const Assignment assignment = shifted(checked[i].assignment);
    const MeanTerms terms = weights_.mean_terms(assignment);
    results.front.push_back({.model = weights_.model().name(),
                             .assignment = names_[i],
                             .weights = std::string(weights_.format(assignment[0]).preparation->name),
                             .terms_mean = terms.per_weight,
                             .terms_per_product = terms.per_product,
                             .split = images_->choosing.images->split,
                             .images = checked[i].accuracy.images,
                             .top1 = checked[i].accuracy.top1,
                             .loss = checked[i].loss.loss,
                             .loss_low = checked[i].loss.low,
                             .loss_high = checked[i].loss.high,
                             .within_budget = search_->within_budget(int(i)),
                             .cycles = points[i][1],
                             .energy_pj = points[i][2]});
    const auto rows = weights_.rows({.name = names_[i], .choices = assignment, .preparation = &preparation()});
    results.assignments.insert(results.assignments.end(), rows.begin(), rows.end());
  }
}

}  // namespace bitcluster
