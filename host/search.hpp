#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/evaluation.hpp"

namespace bitcluster {

/// One choice per weighted layer: index into SearchProblem::candidates, or `reference` for the unchanged weights.
using Assignment = std::vector<int>;
inline constexpr int reference = -1;

struct SearchProblem {
  int layers = 0;                         //!< weighted layers
  int candidates = 0;                     //!< choices per layer, cheapest in hardware first (smallest N)
  std::vector<std::vector<double>> cost;  //!< (layers, candidates): what is minimised, e.g. cycles of the emulator
  double budget = 0.01;                   //!< allowed loss of top-1 accuracy against the float network, fraction
  bool confident = true;  //!< the upper end of the 95 % interval must be inside the budget, not just the mean
  int probes = 8;         //!< assignments evaluated per round of choice and refinement
  int choice_rounds = 4;  //!< rounds that narrow down the allowed increase of the cross entropy
  int refine_rounds = 8;  //!< rounds that make layers of the best assignment one candidate cheaper
  std::vector<ImageScore> baseline;  //!< scores of the float network on the search split
};

/// The layerwise search: uniform N (M-BC), sensitivity of each layer to each candidate, choice by
/// dynamic programming under an additive model, check and repair by real evaluation (L-BC). Knows no ranks, threads or
/// devices: the caller evaluates what next() asks for, in any order and anywhere, and reports the scores in that order.
class LayerwiseSearch {
 public:
  struct Checked {
    std::string role;  //!< "reference", "uniform", "sensitivity", "layerwise"
    Assignment assignment;
    double cost = 0;  //!< NaN where a layer keeps the reference weights, which have no cost
    Accuracy accuracy;
    PairedLoss loss;  //!< against the float network, search split
    bool within_budget = false;
  };

  /// Error for an empty baseline, a cost table of the wrong shape, or a number out of range.
  explicit LayerwiseSearch(SearchProblem problem);
  ~LayerwiseSearch();

  /// Assignments to evaluate next on the search split, the same until they are reported; empty when the search has
  /// ended.
  std::vector<Assignment> next();

  /// Scores of every image of the search split for the assignments of the last next(), in its order.
  /// Error if a number of assignments or images is wrong; nothing is taken then.
  void report(const std::vector<std::vector<ImageScore>>& scores);

  /// Everything that was evaluated, in order.
  const std::vector<Checked>& checked() const;

  /// Index into checked() of the smallest uniform candidate within the budget (M-BC), -1 if there is none.
  int uniform() const;
  /// Index into checked() of the cheapest assignment within the budget (L-BC; a uniform one counts), -1 if there is
  /// none.
  int layerwise() const;
  /// Index into checked() of one layer at one candidate and all others at the reference, -1 if not evaluated yet.
  int sensitivity(int layer, int candidate) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Which of the assignments are on the Pareto front: no other one costs no more and has no lower top-1 accuracy, one of
/// them better (of equal ones the first). Those without a cost are not.
std::vector<bool> pareto(const std::vector<LayerwiseSearch::Checked>& checked);

}  // namespace bitcluster
