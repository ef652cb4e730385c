#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <ranges>
#include <set>
#include <system_error>

#include "harness/journal/journal.hpp"
#include "harness/plan/plan.hpp"
#include "harness/program/commands.hpp"
#include "harness/program/input_files.hpp"
#include "harness/program/results_output.hpp"
#include "harness/program/version.hpp"
#include "harness/ranks/devices.hpp"
#include "harness/ranks/interruption.hpp"
#include "harness/ranks/progress.hpp"
#include "harness/ranks/shared_inputs.hpp"
#include "harness/scoring/evaluator.hpp"
#include "harness/study/config.hpp"
#include "harness/study/study_run.hpp"
#include "host/base/error.hpp"
#include "host/data/accelerator_file.hpp"
#include "host/data/assignment_file.hpp"
#include "host/emulation/design.hpp"
#include "host/results/build_rows.hpp"
#include "host/results/file.hpp"
#include "host/results/report.hpp"
#include "host/results/summary.hpp"

namespace bitcluster {
namespace {

/// As their files describe them, and resized to the array area of the first BitCluster design.
std::vector<Basis> compared_arrays(const Config& config) {
  const Config::EmulationOptions& options = config.emulation;
  std::vector<Basis> bases = {{throughput_basis, load_accelerators(options.accelerators)}};
  const std::vector<Accelerator>& given = bases[0].accelerators;
  const Accelerator* bitcluster = find_design(given, bitcluster_weights.design);
  if (options.equal_area == true && !bitcluster) {
    throw Error(fmt::format("'{}': equal_area has no effect", config.path), "no accelerator has design \"bitcluster\"",
                "add one, or remove the key");
  }
  if (!options.equal_area.value_or(true) || !bitcluster) return bases;
  Basis equal_area{area_basis, {}};
  for (const Accelerator& accelerator : given) {
    equal_area.accelerators.push_back(fit_area(accelerator, bitcluster->array_mm2()));
  }
  bases.push_back(std::move(equal_area));
  return bases;
}

/// What a command leaves in its results file.
struct Stages {
  bool search, emulation;
};

/// The splits that a study looks at, of every model's data.
std::set<std::string> splits_of(const Config& config, Stages stages) {
  std::set<std::string> splits = {config.calibration.split};
  if (stages.search) splits.insert({config.search.split, config.search.test_split});
  if (stages.emulation) splits.insert(config.emulation.split);
  return splits;
}

/// Error if a split is missing, or one that choices are made on shares images with the test split.
void check_splits(const Config& config, const Config::Model& model, const std::set<std::string>& splits) {
  const Dataset data = Dataset::load(model.data);
  const std::vector<std::string> known = data.splits();
  for (const std::string& split : splits) {
    if (std::ranges::find(known, split) != known.end()) continue;
    throw Error(fmt::format("'{}' has no split '{}', which '{}' asks for", model.data, split, config.path),
                fmt::format("it has {}", fmt::join(known, ", ")), "add it there, or name one of these in the config");
  }
  for (const std::string& other : {config.calibration.split, config.search.split}) {
    if (data.overlap(other, config.search.test_split)) {
      throw Error(
          "'" + model.data + "': split '" + other + "'",
          "it shares images with '" + config.search.test_split + "', which must judge on images never seen before",
          "set the splits apart there, or name others in '" + config.path + "'");
    }
  }
}

/// Error for all that can be known to be wrong before any work: what is asked for is missing in the config, its
/// accelerators or its data.
void check_study(const Config& config, const std::vector<Accelerator>& accelerators, Stages stages) {
  if (stages.emulation && accelerators.empty()) {
    throw Error("'" + config.path + "': nothing can be emulated", "it names no accelerator",
                "list TOML files under accelerators in [emulation]");
  }
  if (stages.search) {
    std::vector<std::string> designs;
    for (const Accelerator& accelerator : accelerators) designs.emplace_back(accelerator.design->name);
    check_search(config, designs);
  }
  for (const Config::Model& model : config.models) check_splits(config, model, splits_of(config, stages));
}

/// All but the images, which are known once the splits are known to be there.
void add_inputs(InputFiles& inputs, const Config& config) {
  for (const std::string& path : config.emulation.accelerators) inputs.add_accelerator(path);
  for (const Config::Model& model : config.models) {
    inputs.add_model(model.onnx);
    inputs.add("data", model.data);
  }
}

/// Error if images that are asked for are not there or do not fit their network, which is found before the long work.
void check_images(const SharedInputs& inputs, const Config& config, const Config::Model& model, const Network& network,
                  Stages stages) {
  const Dataset data = Dataset::load(model.data);
  inputs.check(data, config.calibration.split, config.calibration.images, network);
  if (stages.search) {
    inputs.check(data, config.search.split, config.search.images, network);
    inputs.check(data, config.search.split, config.search.sensitivity_images.value_or(0), network);
    inputs.check(data, config.search.test_split, config.search.test_images, network);
  }
  if (stages.emulation) inputs.check(data, config.emulation.split, config.emulation.images, network);
}

/// What such a command would write anew, in other words why complete results are not its own; empty if they are.
std::string outdated(const Results& results, const Config& config, Stages stages, const std::vector<InputRow>& inputs,
                     const std::vector<StudyRun::GivenAssignment>& given) {
  const Provenance& provenance = results.provenance;
  if (provenance.program_version != program_version || provenance.git_commit != git_commit) {
    return fmt::format("it was made by bitcluster {} ({}), this is {} ({})", provenance.program_version,
                       provenance.git_commit, program_version, git_commit);
  }
  if (provenance.config != config.text) return fmt::format("'{}' has changed", config.path);
  if (!std::ranges::equal(models_of(results), config.models, {}, {}, &Config::Model::name)) {
    return "it has other models";
  }
  if (results.evaluations.empty() == stages.search || results.emulation.empty() == stages.emulation) {
    return "it is another command's";
  }
  for (const StudyRun::GivenAssignment& one : given) {
    const bool known = std::ranges::any_of(results.assignments, [&](const AssignmentRow& row) {
      return row.model == one.model && row.assignment == assignment_name(one.path);
    });
    if (!known) return fmt::format("it lacks assignment '{}' of {}", assignment_name(one.path), one.model);
  }
  if (results.inputs.size() != inputs.size()) return "it was made from other files";
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (results.inputs[i].checksum != inputs[i].checksum) return fmt::format("'{}' has changed", inputs[i].path);
  }
  return "";
}

/// Prints the tables of an output that is complete already, and still belongs to its inputs.
bool print_complete(const Ranks& ranks, const StudyOptions& options, const Config& config, Stages stages,
                    const std::vector<InputRow>& inputs, const std::vector<StudyRun::GivenAssignment>& given) {
  std::byte complete{0};
  ranks.on_root([&] {
    const auto is_there = [](const std::string& path) {
      std::error_code none;  // what else is wrong with the name, opening it says
      return std::filesystem::exists(path, none);
    };
    if (!options.resume || !is_there(options.output)) return;
    if (!options.keep_journal && is_there(Journal::path_of(options.output))) return;
    const Results results = read_results(options.output);
    const std::string why = outdated(results, config, stages, inputs, given);
    if (why.empty()) {
      fmt::print(stderr, "bitcluster: '{}' is complete already\n", options.output);
      fmt::print("{}", format_summary(results, TableFormat::text));
      complete = std::byte(1);
    } else {
      fmt::print(stderr, "bitcluster: '{}' is made again: {}\n", options.output, why);
    }
  });
  ranks.broadcast(std::span(&complete, 1));
  return complete != std::byte(0);
}

std::unique_ptr<Journal> open_journal(const Ranks& ranks, const StudyOptions& options) {
  std::unique_ptr<Journal> journal;
  ranks.on_root([&] {
    journal =
        std::make_unique<Journal>(options.output, fmt::format("{} ({})", program_version, git_commit), options.resume);
    if (journal->found_at_start() > 0) {
      fmt::print(stderr, "bitcluster: going on with '{}': {} results are known\n", options.output,
                 journal->found_at_start());
    }
    if (journal->bytes_left_out() > 0) {
      fmt::print(
          stderr,
          "bitcluster: the last {} bytes of '{}' are cut off or damaged: what they recorded is worked out anew\n",
          journal->bytes_left_out(), Journal::path_of(options.output));
    }
  });
  return journal;
}

/// Whether tables call something else so.
bool is_reserved(const std::string& name) {
  return name == "float" || std::ranges::any_of(preparations(), [&](const Preparation* preparation) {
           const std::string prefix(preparation->prefix);
           return name == preparation->name || name == preparation->uniform || name == preparation->layerwise ||
                  name.starts_with(prefix + "N=") || name.starts_with(prefix + "round ");
         });
}

/// Which model every "[MODEL=]FILE" is for; those of models that are not chosen are left out. Error where that is not
/// clear. all: models of the config.
std::vector<StudyRun::GivenAssignment> given_assignments(const StudyOptions& options, const Config& config,
                                                         const std::vector<std::string>& all) {
  std::vector<StudyRun::GivenAssignment> given;
  std::set<std::pair<std::string, std::string>> names;
  for (const std::string& text : options.assignments) {
    std::string model;
    for (const std::string& name : all) {
      if (text.starts_with(name + "=") && name.size() > model.size()) model = name;
    }
    const std::string path = model.empty() ? text : text.substr(model.size() + 1);
    if (model.empty()) {
      if (config.models.size() != 1) {
        throw Error(fmt::format("--assignment {}", text), "it does not say for which of the models it is",
                    "write MODEL=FILE.csv with a name of the config, or choose one model with --model");
      }
      model = config.models[0].name;
    }
    if (std::ranges::find(config.models, model, &Config::Model::name) == config.models.end()) continue;
    const std::string name = assignment_name(path);
    if (is_reserved(name) || !names.emplace(model, name).second) {
      throw Error(fmt::format("--assignment {}", text), fmt::format("tables call another assignment '{}'", name),
                  "give the file another name");
    }
    given.push_back({model, path});
  }
  return given;
}

/// Runs `steps` on the chosen models of the config and writes the results.
void study_models(const Ranks& ranks, const StudyOptions& options, Stages stages,
                  const std::function<void(StudyRun&, const std::vector<Basis>&)>& steps) {
  InputFiles files(ranks);
  files.add("config", options.config);
  Config config = load_config(options.config);
  std::vector<std::string> all;
  for (const Config::Model& model : config.models) all.push_back(model.name);
  select_models(config, options.models);
  ranks.on_root([&] { check_files(config); });
  add_inputs(files, config);
  const auto given = given_assignments(options, config, all);
  for (const StudyRun::GivenAssignment& one : given) files.add("assignment", one.path);
  const std::vector<Basis> bases = compared_arrays(config);
  check_study(config, bases[0].accelerators, stages);
  for (const Config::Model& model : config.models) files.add_data(model.data, splits_of(config, stages));
  if (!options.plan.empty()) {
    plan(ranks, {config, bases[0].accelerators, stages.emulation ? bases : std::vector<Basis>()}, options.backend,
         options.plan);
    return;
  }
  const std::vector<InputRow> file_rows = files.rows();
  if (print_complete(ranks, options, config, stages, file_rows, given)) return;
  const Devices devices = make_devices(ranks, options.backend, int(config.models.size()));
  const SharedInputs inputs(ranks, devices.gpus.get());
  // all models, to find bad input before the long work
  std::vector<Network> networks;
  {
    Progress progress(ranks.root(), "import", long(config.models.size()));
    for (const Config::Model& model : config.models) {
      networks.push_back(inputs.network(model.onnx));
      networks.back().name = model.name;
      check_images(inputs, config, model, networks.back(), stages);
      progress.update(long(networks.size()));
    }
  }
  Results results = start_results(ranks, options.output, devices.backends[0]->description());
  results.inputs = file_rows;
  results.provenance.config = config.text;
  results.provenance.seed = config.seed;
  for (const Basis& basis : bases) {
    for (const Accelerator& accelerator : basis.accelerators) {
      results.accelerators.push_back(accelerator_row(basis.name, accelerator));
    }
  }
  const std::unique_ptr<Journal> journal = open_journal(ranks, options);
  catch_interruptions();
  Evaluator evaluator(ranks, journal.get());
  StudyRun studies(inputs, evaluator, devices, config, std::move(networks));
  studies.give(given);
  steps(studies, bases);
  studies.append_to(results);
  summarize(results, config.search.test_split);
  files.check_unchanged();
  finish_results(ranks, options.output, results);
  if (journal) options.keep_journal ? journal->sync() : journal->finish();
  if (ranks.root()) fmt::print("{}", format_summary(results, TableFormat::text));
}

}  // namespace

void search(const Ranks& ranks, const StudyOptions& options) {
  study_models(ranks, options, {true, false}, [](StudyRun& studies, const std::vector<Basis>& bases) {
    studies.search(bases[0].accelerators);
    studies.conclude(true, {});
  });
}

void emulate(const Ranks& ranks, const StudyOptions& options) {
  study_models(ranks, options, {false, true}, [](StudyRun& studies, const std::vector<Basis>& bases) {
    studies.assign_without_search();
    studies.conclude(false, bases);
  });
}

void run(const Ranks& ranks, const StudyOptions& options) {
  study_models(ranks, options, {true, true}, [](StudyRun& studies, const std::vector<Basis>& bases) {
    studies.search(bases[0].accelerators);
    studies.conclude(true, bases);
  });
}

void list_models(const Ranks& ranks, const std::string& config) {
  if (!ranks.root()) return;
  for (const Config::Model& model : load_config(config).models) fmt::print("{}\n", model.name);
}

}  // namespace bitcluster
