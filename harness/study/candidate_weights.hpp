#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/study/prepared_model.hpp"
#include "host/results/rows.hpp"
#include "host/search/layerwise_search.hpp"
#include "host/weights/preparation.hpp"

namespace bitcluster {

/// Weights for every layer, as a choice of each: an index into CandidateWeights' formats, or reference_choice.
struct NamedAssignment {
  std::string name;
  Assignment choices;
  const Preparation* preparation = nullptr;  //!< of the layers that do not keep the reference
  double budget = not_available;             //!< allowed loss of top-1 accuracy that it was searched for, fraction
  bool within_budget = false;                //!< on the search and validation images; else what comes nearest
};

/// The weights that the layers of one model may have.
class CandidateWeights {
 public:
  /// The formats of all preparations that a config lists N for, one preparation after the other.
  CandidateWeights(const PreparedModel& model, const Config& config);

  const PreparedModel& model() const { return *model_; }
  /// Of formats that a config lists; those of given assignments come behind them.
  int count() const { return listed_; }
  const WeightFormat& format(int choice) const;
  /// "N=2", and what else tells a candidate from the others of its preparation.
  std::string name_of(int candidate) const;

  /// Quantizes all layers in these formats; those of compensated rounding look at the calibration images once.
  /// Collective. layer_done: called after every layer.
  void prepare(std::span<const int> candidates, const std::function<void()>& layer_done);

  /// weighted: position in model().layers(). Error for a format that was not prepared.
  const QuantizedWeights& of(int weighted, int choice) const;
  const std::shared_ptr<const QuantizedWeights>& shared(int weighted, int candidate) const;

  /// What an assignment changes against the reference.
  Variant variant(const Assignment& choices) const;

  MeanTerms mean_terms(const Assignment& choices) const;

  /// An assignment of formats by layer, (weighted). Error, naming `source`, where all layers keep the reference.
  NamedAssignment given(std::string name, std::span<const WeightFormat> formats, const std::string& source);

  /// The reference weights in all layers.
  NamedAssignment reference() const;
  /// Every format in all layers, for emulation without a search.
  std::vector<NamedAssignment> uniform() const;

  std::vector<AssignmentRow> rows(const NamedAssignment& assignment) const;

 private:
  const PreparedModel* model_;
  WeightFormat reference_;
  std::vector<WeightFormat> formats_;
  int listed_;                                                                      // of formats_
  std::map<std::pair<int, int>, std::shared_ptr<const QuantizedWeights>> weights_;  // (weighted, format)
};

}  // namespace bitcluster
