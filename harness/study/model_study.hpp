#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/ranks/shared_inputs.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/config.hpp"
#include "host/data/dataset.hpp"
#include "host/emulation/accelerator.hpp"
#include "host/emulation/emulator.hpp"
#include "host/inference/integer_network.hpp"
#include "host/results/file.hpp"
#include "host/search/layerwise_search.hpp"

namespace bitcluster {

/// Weights of every layer in every candidate format, quantized when first asked for.
class CandidateWeights {
 public:
  CandidateWeights(std::shared_ptr<const IntegerNetwork> network, std::vector<WeightFormat> candidates,
                   Quantizer quantizer)
      : network_(std::move(network)),
        layers_(weighted_layers(network_->network)),
        candidates_(std::move(candidates)),
        quantizer_(std::move(quantizer)) {}

  const std::vector<WeightFormat>& candidates() const { return candidates_; }

  /// weighted: position in weighted_layers(). Collective when first asked for.
  std::shared_ptr<const QuantizedWeights> get(int weighted, int candidate);

  /// What an assignment changes against the reference.
  Variant variant(const Assignment& assignment);

 private:
  std::shared_ptr<const IntegerNetwork> network_;
  std::vector<int> layers_;
  std::vector<WeightFormat> candidates_;
  Quantizer quantizer_;
  std::map<std::pair<int, int>, std::shared_ptr<const QuantizedWeights>> cache_;
};

/// The accelerators of one comparison.
struct Basis {
  std::string name;
  std::vector<Accelerator> accelerators;
};

class Study;

/// One layer on one accelerator.
struct EmulationTask {
  Study* study;
  const Basis* basis;  //!< null in a search
  const Accelerator* accelerator;
  const std::string* assignment;  //!< its name; null in a search
  int layer;                      //!< weighted
  int choice;                     //!< of its weights
  int image = -1;                 //!< whose activations it looks at; -1: none
  int images = 1;                 //!< that it stands for
};

/// One model of a config on its way through the study: calibrated, searched, tested, emulated. It says what
/// has to be scored or emulated, and turns that into rows of its results; see Studies. Like everything collective, all
/// ranks make the same calls and get the same rows.
class Study {
 public:
  /// Calibrates and quantizes the model; rows of /layers. The backend is the study's own. Collective.
  Study(const Inputs& inputs, const Ranks& ranks, Backend& backend, const Config& config, const Config::Model& model,
        Network network);

  const std::string& name() const { return name_; }
  const std::string& layer_name(int weighted) const { return network().layers[layers_[weighted]].name; }
  /// Of one image in a layer.
  std::int64_t products(int weighted) const { return multiply_accumulates(network(), layers_[weighted]); }
  Results& results() { return results_; }

  /// The images that are scored from now on. Collective.
  void read_search_images();
  void read_test_images();
  /// Makes room for others; all studies that share them have to.
  void drop_images();

  FloatRequest float_request() const { return {network_->network, images_, input_table_}; }
  /// What the others' loss is measured against; a row of /evaluations. seconds: of an evaluation, in all that follows.
  void take_float(std::vector<ImageScore> scores, double seconds);

  /// The integer weights and the assignments found, on the test split; rows of /evaluations.
  ScoreRequest test_request();
  void take_test(const Scores& scores, double seconds);

  /// All accelerators on all layers: the BitCluster design runs the assignments found, the others the plain integer
  /// weights, and Pragmatic on weights those of BitPruner, too. Collective.
  std::vector<EmulationTask> emulation_tasks(const std::vector<Basis>& bases);
  LayerEmulation emulate(const EmulationTask& task, StepCounter* step_counter);
  Key key(const EmulationTask& task, KeyCache& keys) const;

  /// Adds one assignment per candidate that gives it to every layer ("N=2"), for emulation without a search.
  void assign_uniformly();

  void skip(const std::string& stage, const std::string& subject, const std::string& reason);

 private:
  friend class CandidateSearch;

  struct Named {
    std::string name;
    Assignment assignment;  // of weights_->candidates(), BitCluster's first, then BitPruner's
    bool pruned = false;
  };

  const Network& network() const { return network_->network; }
  ScoreRequest request(std::vector<Variant> variants) const { return {*backend_, network_, images_, variants, {}, {}}; }
  void add_evaluation(const std::string& assignment, std::span<const ImageScore> scores, double seconds,
                      const Assignment* choices);
  void add_assignment(const std::string& name, const Assignment& assignment);
  std::string candidate_name(const WeightFormat& format) const;
  const WeightFormat& format_of(int choice) const;
  const QuantizedWeights& weights_of(int layer, int choice) const;
  double terms_mean(const Assignment& choices);

  const Inputs* inputs_;
  const Config* config_;
  Backend* backend_;
  std::string name_;
  Results results_;
  Dataset data_;
  std::vector<float> input_table_;
  std::shared_ptr<const IntegerNetwork> network_;
  std::vector<int> layers_;  // with weights
  std::unique_ptr<CandidateWeights> weights_;
  Named integer_;
  std::vector<Named> found_;

  std::shared_ptr<const Images> images_;    // that are scored
  std::shared_ptr<const Images> emulated_;  // whose activations are emulated
  std::vector<Key> image_keys_;             // of these
  std::optional<HeldImages> held_;
  std::vector<ImageScore> baseline_;                         // of the float network on them
  int observed_ = -1;                                        // image
  std::vector<std::vector<std::int16_t>> inputs_of_layers_;  // of that image and every layer with weights, (c, h, w)
};

/// The layerwise search of one model among some of its candidates, BitCluster's (assignments M-BC and L-BC) or
/// BitPruner's, on the images that the study has; rows of /sensitivity, /evaluations, /assignments, /front.
class CandidateSearch {
 public:
  /// Those of `study`, for the accelerators whose cycles or energy are minimised. Error without the BitCluster design;
  /// without one for BitPruner its candidates are skipped. Collective.
  static std::vector<CandidateSearch> of(Study& study, const std::vector<Accelerator>& accelerators);

  /// What every layer costs in every format, (layers, candidates).
  std::vector<EmulationTask> cost_tasks() const;
  void take_costs(std::vector<LayerEmulation> costs);

  /// What the next round scores; nothing after the last one.
  std::optional<ScoreRequest> next();
  void take(const Scores& scores, double seconds);

  /// What was found.
  void finish();

 private:
  CandidateSearch(Study& study, int first, int count, const Accelerator& design);
  Assignment shifted(Assignment assignment) const;
  void add_front();

  Study* study_;
  int first_, count_;  // candidates of the study
  const Accelerator* design_;
  bool pruned_;
  std::string prefix_;                 // of names
  std::vector<LayerEmulation> costs_;  // (layers, candidates)
  std::unique_ptr<LayerwiseSearch> search_;
  int round_ = 0;
  std::vector<std::string> names_;  // of what was checked
};

}  // namespace bitcluster
