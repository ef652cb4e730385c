#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "harness/evaluator.hpp"
#include "harness/inputs.hpp"
#include "host/accelerator.hpp"
#include "host/config.hpp"
#include "host/dataset.hpp"
#include "host/emulator.hpp"
#include "host/integer_network.hpp"
#include "host/results.hpp"
#include "host/search.hpp"

namespace bitcluster {

/// Weights of every layer in every candidate format, quantized when first asked for.
class CandidateWeights {
 public:
  CandidateWeights(const IntegerNetwork& network, std::vector<WeightFormat> candidates, Quantizer quantizer)
      : network_(network),
        layers_(weighted_layers(network.network)),
        candidates_(std::move(candidates)),
        quantizer_(std::move(quantizer)) {}

  const std::vector<WeightFormat>& candidates() const { return candidates_; }

  /// weighted: position in weighted_layers(). Collective when first asked for.
  std::shared_ptr<const QuantizedWeights> get(int weighted, int candidate);

  /// What an assignment changes against the reference.
  Variant variant(const Assignment& assignment);

 private:
  const IntegerNetwork& network_;
  std::vector<int> layers_;
  std::vector<WeightFormat> candidates_;
  Quantizer quantizer_;
  std::map<std::pair<int, int>, std::shared_ptr<const QuantizedWeights>> cache_;
};

/// The study of one model of a config, step by step: import, calibrate, search, test, emulate. Every step appends its
/// rows to the results; steps are collective over the ranks and give all of them the same rows.
class Study {
 public:
  /// Imports, calibrates and quantizes the model; rows of /layers. walker: takes over what it can of emulate(); null
  /// for the CPU alone.
  Study(const Inputs& inputs, Evaluator& evaluator, const Config& config, const Config::Model& model, Results& results,
        Walker* walker);

  /// Layerwise search on the search split, for BitCluster (assignments M-BC and L-BC) and, if the config lists terms
  /// for it and there is a design to run it, with BitPruner's weights; rows of /sensitivity, /evaluations,
  /// /assignments, /front.
  void search(const std::vector<Accelerator>& accelerators);

  /// Float, integer and the assignments found on the test split; rows of /evaluations.
  void test();

  /// All accelerators on all layers: the BitCluster design runs the assignments found, the others the plain integer
  /// weights, and Pragmatic on weights those of BitPruner, too; rows of /emulation. Activations of one image at a time
  /// are in memory.
  void emulate(const std::string& basis, const std::vector<Accelerator>& accelerators);

  /// Adds one assignment per candidate that gives it to every layer ("N=2"), for emulation without a search.
  void assign_uniformly();

 private:
  struct Named {
    std::string name;
    Assignment assignment;  // of weights_->candidates(), BitCluster's first, then BitPruner's
    bool pruned = false;
  };

  /// The candidates [first, first + count) of weights_, searched for the least cost on `design`.
  void search_candidates(int first, int count, const Accelerator& design, const Images& images,
                         const std::vector<ImageScore>& baseline);

  /// Rows of /front and its assignments: of what was checked on the whole search split, what nothing else beats in
  /// top-1 accuracy, cycles and energy together. names: per checked assignment.
  void add_front(const std::vector<LayerwiseSearch::Checked>& checked, const std::vector<std::string>& names,
                 const std::vector<Assignment>& assignments,
                 const std::vector<std::vector<LayerEmulation>>& emulations);

  void add_evaluation(const std::string& assignment, const std::string& split, std::span<const ImageScore> scores,
                      std::span<const ImageScore> float_scores, double seconds, const Assignment* choices);
  void add_assignment(const std::string& name, const Assignment& assignment);
  std::string candidate_name(const WeightFormat& format) const;
  const WeightFormat& format_of(int choice) const;
  void skip(const std::string& stage, const std::string& subject, const std::string& reason);
  double terms_mean(const Assignment& choices);
  std::string label(const std::string& step) const { return name_ + ": " + step; }

  const Inputs& inputs_;
  Evaluator& evaluator_;
  const Config& config_;
  Results& results_;
  Walker* walker_;
  std::string name_;
  Dataset data_;
  std::vector<float> input_table_;
  IntegerNetwork network_;
  std::vector<int> layers_;  // with weights
  std::unique_ptr<CandidateWeights> weights_;
  std::vector<Named> found_;
};

/// Rows of /layers for one model. Weights in plain 8-bit integers give the mean numbers of terms.
void add_layers(const std::string& model, const Network& network, Results& results,
                const Quantizer& quantizer = quantize);

/// Rows of /accelerators for one basis of comparison.
void add_accelerators(const std::string& basis, const std::vector<Accelerator>& accelerators, Results& results);

/// One row of /emulation; the emulation is the sum over `images` images.
void add_emulation(const std::string& model, const std::string& assignment, const std::string& basis,
                   const Accelerator& accelerator, const std::string& layer, int images,
                   const LayerEmulation& emulation, Results& results);

}  // namespace bitcluster
