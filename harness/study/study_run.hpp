#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness/ranks/devices.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/candidate_search.hpp"
#include "harness/study/config.hpp"
#include "harness/study/emulation_list.hpp"
#include "harness/study/model_emulator.hpp"
#include "harness/study/prepared_model.hpp"

namespace bitcluster {

/// The studies of a config's models, side by side: every round of every search of every model is one list of tasks, so
/// that a rank which one model has no work for works on another. Like everything collective, all ranks make the same
/// calls and get the same rows.
class StudyRun {
 public:
  /// A file with an assignment for a model of the config.
  struct GivenAssignment {
    std::string model, path;
  };

  /// devices: with a backend for every model. networks: those of the config, in its order.
  StudyRun(const SharedInputs& inputs, Evaluator& evaluator, const Devices& devices, const Config& config,
           std::vector<Network> networks);

  /// Takes assignments of the user's own (load_assignment) up, named as their files, beside what is found.
  void give(const std::vector<GivenAssignment>& assignments);

  /// Layerwise searches on the search split, for every preparation that the config lists terms for.
  void search(const std::vector<Accelerator>& accelerators);

  /// Instead of a search: the assignments that were given, or, without any, every candidate in all layers.
  void assign_without_search();

  /// Float, integer and the assignments found: on the test split, if `test`, and on all accelerators of all bases.
  void conclude(bool test, const std::vector<Basis>& bases);

  /// Rows of all models, model by model.
  void append_to(Results& results) const;

 private:
  /// What is known of one model so far.
  struct Study {
    PreparedModel model;
    CandidateWeights weights;
    std::vector<NamedAssignment> given, found;
    Results results;
    bool doubted = false;  // whether a warning about the order of its labels was printed

    Study(const SharedInputs& inputs, const Ranks& ranks, Backend& backend, const Config& config,
          const Config::Model& of, Network network)
        : model(inputs, ranks, backend, config, of, std::move(network)), weights(model, config) {}
  };
  class SearchPhase;
  struct Emulation {
    EmulationList list;
    std::vector<ModelEmulator> emulators;  // (studies)
  };

  static void take_given(Study& study);
  static std::vector<NamedAssignment> tested(const Study& study);
  std::vector<const PreparedModel*> models() const;
  void take_float(std::size_t index, JudgedImages& judged, std::vector<ImageScore> scores, double seconds);
  /// Quantizes candidates of every model, (studies).
  void prepare(const std::vector<std::vector<int>>& candidates);
  Emulation list_emulations(const std::vector<Basis>& bases);
  std::string label(const std::string& step) const;

  const SharedInputs& inputs_;
  Evaluator& evaluator_;
  const Config& config_;
  StepCounter* step_counter_;
  std::vector<std::unique_ptr<Study>> studies_;
};

/// Error on all ranks if they have not decided the same. Collective.
void check_agreement(const Ranks& ranks, const Key& decided, const std::string& what);

}  // namespace bitcluster
