#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/ranks/devices.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/config.hpp"
#include "harness/study/model_study.hpp"

namespace bitcluster {

/// The studies of a config's models, side by side: every round of every search of every model is one list of tasks, so
/// that a rank which one model has no work for works on another. All calls are collective.
class Studies {
 public:
  /// engine: with a backend for every model. networks: those of the config, in its order.
  Studies(const Inputs& inputs, Evaluator& evaluator, const Engine& engine, const Config& config,
          std::vector<Network> networks);

  /// Layerwise searches on the search split, for BitCluster and, if the config lists terms for it, with BitPruner's
  /// weights.
  void search(const std::vector<Accelerator>& accelerators);

  /// Gives every layer the same candidate, for all candidates, instead of a search.
  void assign_uniformly();

  /// Float, integer and the assignments found: on the test split, if `test`, and on all accelerators of all bases.
  void conclude(bool test, const std::vector<Basis>& bases);

  /// Rows of all models, model by model.
  void append_to(Results& results) const;

 private:
  std::vector<CandidateSearch> begin_searches(const std::vector<Accelerator>& accelerators);
  void add_emulations(const std::vector<EmulationTask>& tasks, const std::vector<LayerEmulation>& emulations);
  std::string label(const std::string& step) const;

  Evaluator& evaluator_;
  const Config& config_;
  StepCounter* step_counter_;
  std::vector<std::unique_ptr<Study>> studies_;
};

}  // namespace bitcluster
