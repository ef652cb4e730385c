#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/scoring/evaluator.hpp"
#include "harness/study/candidate_weights.hpp"
#include "harness/study/emulation_list.hpp"
#include "host/inference/accuracy.hpp"
#include "host/results/results.hpp"
#include "host/search/layerwise_search.hpp"

namespace bitcluster {

/// Images that a model is judged on, and how its float network does on them.
struct JudgedImages {
  std::shared_ptr<const Images> images;
  std::vector<ImageScore> baseline;

  FloatRequest float_request(const PreparedModel& model) const {
    return {model.network(), images, model.input_table()};
  }
};

/// The images of a search split: those that assignments are chosen by, and those that confirm them.
struct SearchImages {
  JudgedImages choosing, confirming;  //!< of the second none (null) without validation
};

/// How some weights do on judged images. choices: null for the float network. seconds: of the evaluation.
EvaluationRow evaluation_row(const CandidateWeights& weights, const JudgedImages& judged, const std::string& assignment,
                             const Assignment* choices, std::span<const ImageScore> scores, double seconds);

/// What a search asks for as evaluations: the assignments' extents.
std::vector<ScoreExtent> extents_of(std::span<const Question> questions, bool early_stop);

/// The search of a config's [search] among some candidates. costs: (layers, candidates). baselines: scores of the float
/// network on the search images and on those kept for validation.
SearchProblem search_problem(const Config::SearchOptions& options, int layers, int candidates,
                             std::span<const LayerEmulation> costs, std::vector<ImageScore> baseline,
                             std::vector<ImageScore> validation_baseline);

/// The assignments that a search may end with, by their names: of BitCluster M-BC and L-BC.
std::vector<std::string> searched_names(const Preparation& preparation);

/// Emulations of all layers in all formats of a preparation, whose costs a search minimises, (layers, candidates).
/// first: the preparation's first choice. Costs are counted without activations: a search needs cycles and energy
/// alone.
void add_search_costs(int model, int layers, int first, int candidates, const Accelerator& design, EmulationList& list);

/// The layerwise search of one model among the candidates of one preparation.
class CandidateSearch {
 public:
  /// choices: [first, first + count) of the weights, which must be prepared. design: the accelerator that runs them.
  CandidateSearch(CandidateWeights& weights, int first, int count, const Accelerator& design,
                  const Config::SearchOptions& options);

  const Preparation& preparation() const { return *weights_.format(first_).preparation; }
  void add_costs(int model, EmulationList& list) const;

  /// costs: of add_costs(). The images must outlive the search.
  void start(std::vector<LayerEmulation> costs, const SearchImages& images);

  /// What the next round scores; nothing after the last one.
  std::optional<ScoreRequest> next();
  /// Rows of /sensitivity and /evaluations.
  void take(const Scores& scores, double seconds, Results& results);

  /// Rows of /front and /assignments; what was found, or comes nearest to the budget.
  std::vector<NamedAssignment> finish(Results& results);

 private:
  Assignment shifted(Assignment assignment) const;
  void add_sensitivity(const LayerwiseSearch::Checked& checked, Results& results) const;
  std::string name_of(const LayerwiseSearch::Checked& checked, int choice) const;
  void add_front(Results& results) const;

  CandidateWeights& weights_;
  int first_, count_;
  const Accelerator& design_;
  const Config::SearchOptions& options_;
  const SearchImages* images_ = nullptr;
  std::vector<LayerEmulation> costs_;  // (layers, candidates)
  std::unique_ptr<LayerwiseSearch> search_;
  int round_ = 0;
  std::vector<std::string> names_;  // of what was checked
};

}  // namespace bitcluster
