#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/inference/accuracy.hpp"
#include "host/search/assignment.hpp"

namespace bitcluster {

enum class SearchPolicy {
  model,  //!< dynamic programming under an additive model that learns from every check, then neighbours of the best
  greedy  //!< layer by layer, least damage per saved cost first, each as cheap as the budget lets it
};

struct SearchProblem {
  int layers = 0;                         //!< weighted layers
  int candidates = 0;                     //!< choices per layer
  std::vector<std::vector<double>> cost;  //!< (layers, candidates): what is minimised, e.g. cycles of the emulator
  double budget = 0.01;                   //!< allowed loss of top-1 accuracy against the float network, fraction
  bool confident = true;  //!< the upper end of the 95 % interval must be inside the budget, not just the mean
  SearchPolicy policy = SearchPolicy::model;
  int probes = 2;                    //!< assignments evaluated per round of choice and refinement
  int choice_rounds = 5;             //!< at most, of dynamic programming
  int refine_rounds = 30;            //!< at most, of neighbours of the best assignment
  int patience = 16;                 //!< either ends after so many assignments in a row that are no better
  int sensitivity_images = 0;        //!< first images of the search split that sensitivities are measured on (0: all)
  std::vector<ImageScore> baseline;  //!< scores of the float network on the search images
  std::vector<ImageScore> validation_baseline = {};  //!< and on the validation images; empty: there are none
};

/// One evaluation that the search asks for.
struct Question {
  Assignment assignment;
  int images = 0;           //!< the first ones of the search images, or all validation images
  bool may_stop = false;    //!< fewer images are enough where hopeless() says so
  bool validation = false;  //!< the same for all questions of a round

  bool operator==(const Question&) const = default;
};

/// The layerwise search: uniform candidates (M-BC), sensitivity of each layer to each candidate, then choice by real
/// evaluation of what the policy proposes (L-BC), on the search images. What was chosen for being best on them is
/// better there than elsewhere, so where there are validation images, which no proposal comes from, an assignment is
/// within the budget only if it is so on both: the cheapest are asked for there last. Knows no ranks, threads or
/// devices: the caller evaluates what next() asks for, in any order and anywhere, and reports the scores in that order.
/// The search images must be in random order: the first ones stand for all.
class LayerwiseSearch {
 public:
  struct Checked {
    std::string role;  //!< "reference", "uniform", "sensitivity", "layerwise"
    Assignment assignment;
    double cost = 0;                            //!< NaN where a layer keeps the reference weights, which have no cost
    Accuracy accuracy;                          //!< of the images evaluated
    PairedLoss loss;                            //!< against the float network, same images
    bool complete = false;                      //!< on all search images
    bool within_search = false;                 //!< within the budget on the search images; only if complete
    std::optional<PairedLoss> validation = {};  //!< against the float network on the validation images, if asked for
  };

  /// Error for an empty baseline, a cost table of the wrong shape, or a number out of range.
  explicit LayerwiseSearch(SearchProblem problem);
  ~LayerwiseSearch();

  /// What to evaluate next, the same until it is reported; empty when the search has ended.
  std::vector<Question> next();

  /// Whether an assignment with these scores of the first search images will not be within the budget on all of them.
  /// Wrong for at most one in 1000 assignments that would be, each time it is asked (one-sided Wald bound of the
  /// paired loss with Agresti's and Min's 1/2 per cell, images drawn without replacement; what can still be won and
  /// lost, and the interval's width, are bounded, too).
  bool hopeless(std::span<const ImageScore> first) const;

  /// Scores for the questions of the last next(), in its order: of all images asked for, or of fewer where the
  /// assignment may stop and is hopeless. Error if a number of assignments or images is wrong; nothing is taken then.
  void report(const std::vector<std::vector<ImageScore>>& scores);

  /// Everything that was evaluated, in order.
  const std::vector<Checked>& checked() const;

  /// Whether an assignment counts as within the budget, by all that is known of it: on the validation images only if
  /// it was asked about there.
  bool within_budget(int index) const;

  /// Index into checked() of the cheapest uniform candidate within the budget (M-BC), -1 if there is none.
  int uniform() const;
  /// Index into checked() of the cheapest assignment within the budget (L-BC; a uniform one counts), -1 if there is
  /// none.
  int layerwise() const;
  /// Index into checked() of what comes nearest to the budget, among uniform candidates and among all: for where
  /// nothing is within it.
  int nearest_uniform() const;
  int nearest_layerwise() const;
  /// Index into checked() of one layer at one candidate and all others at the reference, -1 if not evaluated yet.
  int sensitivity(int layer, int candidate) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace bitcluster
