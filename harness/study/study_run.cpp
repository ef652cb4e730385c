#include "harness/study/study_run.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <list>
#include <numeric>
#include <optional>

#include "harness/ranks/progress.hpp"
#include "harness/scoring/tiles.hpp"
#include "harness/study/model_emulator.hpp"
#include "host/base/error.hpp"
#include "host/data/assignment_file.hpp"
#include "host/inference/label_order.hpp"
#include "host/results/build_rows.hpp"

namespace bitcluster {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::string counted(std::size_t count, const std::string& thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

/// Of every evaluation, its share of the wall time of a batch [s].
double seconds_each(const Stopwatch& watch, const ScoringWork& batch) {
  std::size_t evaluations = batch.floats.size();
  for (const ScoreRequest& request : batch.requests) evaluations += request.variants.size();
  return watch.seconds() / double(evaluations);
}

/// Names everything that a round of searches asks for.
Key decision_key(const std::vector<ScoreRequest>& requests, KeyCache& keys) {
  KeyBuilder builder;
  for (const ScoreRequest& request : requests) {
    for (const Variant& variant : request.variants) {
      for (const WeightChange& change : variant) {
        builder.add(std::int64_t(change.layer)).add(keys.of(change.weights)[0]);
      }
      builder.add("variant");
    }
    for (const ScoreExtent& extent : request.extents) {
      builder.add(std::int64_t(extent.images)).add(std::int64_t(extent.may_stop));
    }
  }
  return builder.key();
}

/// Adds the choices of an assignment to those that there are.
void add_choices(const NamedAssignment& assignment, std::vector<int>& choices) {
  for (const int choice : assignment.choices) {
    if (choice != reference_choice && std::ranges::find(choices, choice) == choices.end()) choices.push_back(choice);
  }
}

/// The tasks of a list in the order in which they had best be begun. emulators: of the models.
class StudyEmulations {
 public:
  /// alone: the ranks have nothing else to do meanwhile.
  StudyEmulations(EmulationList list, std::vector<ModelEmulator> emulators,
                  const std::vector<const PreparedModel*>& models, bool alone, Evaluator& evaluator,
                  StepCounter* step_counter)
      : list_(std::move(list)), emulators_(std::move(emulators)) {
    std::vector<double> costs;
    std::vector<int> images;
    for (const EmulationTask& task : list_.tasks) {
      const PreparedModel& model = *models[task.model];
      costs.push_back(
          emulation_cost(*task.accelerator, double(multiply_accumulates(model.network(), model.layers()[task.layer]))));
      images.push_back(task.image);
    }
    constexpr double dear_share = 1.0 / 3;  // of what one rank has to do
    const double share = std::reduce(costs.begin(), costs.end()) / evaluator.ranks().size();
    std::vector<std::size_t> order =
        emulation_order(costs, images, alone ? dear_share * share : std::numeric_limits<double>::infinity());
    work_.emplace(
        list_, std::move(order), costs,
        [this, step_counter](const EmulationTask& task) { return emulators_[task.model].emulate(task, step_counter); },
        evaluator.journal(),
        [&](const EmulationTask& task) { return emulators_[task.model].key(task, evaluator.keys()); });
  }

  const EmulationList& list() const { return list_; }
  const EmulationWork& work() const { return *work_; }

 private:
  EmulationList list_;
  std::vector<ModelEmulator> emulators_;
  std::optional<EmulationWork> work_;
};

}  // namespace

void check_agreement(const Ranks& ranks, const Key& decided, const std::string& what) {
  const auto keys = ranks.gather(fmt::format("{:016x}{:016x}", decided[0], decided[1]));
  const auto other = std::ranges::find_if(keys, [&](const std::string& key) { return key != keys[0]; });
  if (other == keys.end()) return;
  const auto hosts = ranks.gather(ranks.host());
  const auto rank = other - keys.begin();
  throw Error("the ranks have decided differently on " + what,
              fmt::format("rank 0 on {} and rank {} on {} do not come to the same numbers", hosts[0], rank,
                          hosts[std::size_t(rank)]),
              "run it on nodes with the same kind of processor and the same libraries");
}

StudyRun::StudyRun(const SharedInputs& inputs, Evaluator& evaluator, const Devices& devices, const Config& config,
                   std::vector<Network> networks)
    : inputs_(inputs), evaluator_(evaluator), config_(config), step_counter_(devices.step_counter.get()) {
  Progress progress(evaluator.ranks().root(), label("calibrate and quantize"), long(networks.size()));
  for (std::size_t i = 0; i < networks.size(); ++i) {
    studies_.push_back(std::make_unique<Study>(inputs, evaluator.ranks(), *devices.backends[i], config,
                                               config.models[i], std::move(networks[i])));
    studies_.back()->results.layers = studies_.back()->model.rows();
    progress.update(long(i + 1));
  }
}

std::string StudyRun::label(const std::string& step) const {
  const std::vector<Config::Model>& models = config_.models;
  return (models.size() == 1 ? models[0].name : fmt::format("{} models", models.size())) + ": " + step;
}

/// The searches of all models, on their search images.
class StudyRun::SearchPhase {
 public:
  SearchPhase(StudyRun& run, const std::vector<Accelerator>& accelerators) : run_(run) {
    const Config::SearchOptions& options = run.config_.search;
    for (const auto& study : run.studies_) {
      const PreparedModel& model = study->model;
      const auto all = run.inputs_.images(model.data(), options.split, options.images, model.network(),
                                          std::uint64_t(run.config_.seed));
      const int kept = options.validation_images(all->count), chosen = all->count - kept;
      const auto part = [&](const std::string& name, int first, int count) {
        return JudgedImages{std::make_shared<const Images>(all->part(name, first, count)), {}};
      };
      images_.push_back({part(options.split, 0, chosen), {}});
      if (kept > 0) images_.back().confirming = part(options.split + "/validation", chosen, kept);
      const Images& choosing = *images_.back().choosing.images;
      if (model.backend().can_hold()) held_.emplace_back(model.backend(), choosing.pixels(0, choosing.count));
    }
    std::vector<std::vector<int>> candidates;
    for (int i = 0; i < int(run.studies_.size()); ++i) candidates.push_back(add_searches(i, accelerators));
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      for (const NamedAssignment& given : run.studies_[i]->given) add_choices(given, candidates[i]);
    }
    run.prepare(candidates);
  }

  /// The float networks and the reference on the search images, and what the candidates cost.
  void begin() {
    EmulationList list;
    std::vector<std::size_t> ends;
    for (const Search& search : searches_) {
      search.search.add_costs(search.study, list);
      ends.push_back(list.rows.size());
    }
    std::vector<ModelEmulator> emulators;
    for (const auto& study : run_.studies_) emulators.emplace_back(study->weights, nullptr);
    const StudyEmulations emulations(std::move(list), std::move(emulators), run_.models(), false, run_.evaluator_,
                                     run_.step_counter_);
    ScoringWork batch;
    batch.others = emulations.work().tasks();
    for (std::size_t i = 0; i < images_.size(); ++i) {
      const PreparedModel& model = run_.studies_[i]->model;
      const auto& [choosing, confirming] = images_[i];
      batch.floats.push_back(choosing.float_request(model));
      if (confirming.images) batch.floats.push_back(confirming.float_request(model));
      batch.requests.push_back({model.backend(), model.integer(), choosing.images, {Variant{}}});
    }
    const Stopwatch watch;
    ScoringResult found = run_.evaluator_.work_on(
        batch, run_.label("float, " + run_.config_.search.split + " split, and costs of the candidates"));
    const double seconds = seconds_each(watch, batch);
    auto scores = found.floats.begin();
    for (std::size_t i = 0; i < images_.size(); ++i) {
      run_.take_float(i, images_[i].choosing, std::move(*scores++), seconds);
      if (images_[i].confirming.images) run_.take_float(i, images_[i].confirming, std::move(*scores++), seconds);
    }
    check_resolution(found.scores);
    const std::vector<LayerEmulation> costs = emulations.work().sums(found.others);
    auto from = costs.begin();
    for (std::size_t i = 0; i < searches_.size(); ++i) {
      const auto to = costs.begin() + std::ptrdiff_t(ends[i]);
      searches_[i].search.start({from, to}, images_[searches_[i].study]);
      from = to;
    }
  }

  /// Scores what all searches ask for next; false if none asks for anything.
  bool do_round(int round) {
    ScoringWork batch;
    std::vector<Search*> asking;
    std::size_t assignments = 0;
    for (Search& search : searches_) {
      if (auto request = search.search.next()) {
        assignments += request->variants.size();
        batch.requests.push_back(std::move(*request));
        asking.push_back(&search);
      }
    }
    const Ranks& ranks = run_.evaluator_.ranks();
    if (ranks.size() > 1) {
      check_agreement(ranks, decision_key(batch.requests, run_.evaluator_.keys()),
                      fmt::format("round {} of the search", round));
    }
    if (asking.empty()) return false;
    const Stopwatch watch;
    const std::vector<Scores> scores =
        run_.evaluator_
            .work_on(batch, run_.label(fmt::format("search round {}, {}", round, counted(assignments, "assignment"))))
            .scores;
    const double each = seconds_each(watch, batch);
    for (std::size_t i = 0; i < asking.size(); ++i) {
      asking[i]->search.take(scores[i], each, run_.studies_[asking[i]->study]->results);
    }
    return true;
  }

  void finish() {
    for (Search& search : searches_) {
      Study& study = *run_.studies_[search.study];
      for (NamedAssignment& found : search.search.finish(study.results)) study.found.push_back(std::move(found));
    }
    for (const auto& study : run_.studies_) take_given(*study);
  }

 private:
  struct Search {
    int study;
    CandidateSearch search;
  };

  /// Before the first round: whether the search images can tell a loss of the budget from none. reference: scores of
  /// the integer networks, whose interval is as narrow as any can be expected to be. Error if the search has to be
  /// confident, else a warning.
  void check_resolution(std::span<const Scores> reference) const {
    const Config::SearchOptions& options = run_.config_.search;
    for (std::size_t i = 0; i < images_.size(); ++i) {
      const JudgedImages& judged = images_[i].choosing;
      const Images& images = *judged.images;
      const double resolvable = resolvable_loss(paired_loss(judged.baseline, reference[i][0]));
      if (resolvable <= options.budget) continue;
      const std::string what = fmt::format("{}: a loss of {:.2f} % cannot be told from none",
                                           run_.studies_[i]->model.name(), 100 * options.budget);
      std::string why = fmt::format(
          "the 95 % interval of the plain integer weights on {} images of split '{}' is "
          "+-{:.2f} %",
          images.count, images.split, 100 * resolvable);
      if (images_[i].confirming.images) {
        why += fmt::format(" ({} are kept for validation)", images_[i].confirming.images->count);
      }
      if (options.budget > 0) {
        const double wanted = images_to_resolve(options.budget, resolvable, images.count) / (1 - options.validation);
        why += fmt::format("; about {:.0f} images would do", std::ceil(wanted));
      }
      if (options.confident) {
        throw Error(what, why, "search on more images, allow a larger budget, or set confident = false in [search]");
      }
      if (run_.evaluator_.ranks().root()) fmt::print(stderr, "bitcluster: warning: {}: {}\n", what, why);
    }
  }

  /// One for every preparation; without an accelerator that runs it, it is skipped. The candidates to prepare.
  std::vector<int> add_searches(int index, const std::vector<Accelerator>& accelerators) {
    Study& study = *run_.studies_[index];
    std::vector<int> searched;
    int first = 0;
    for (const Config::Candidates& candidates : run_.config_.search.candidates) {
      const Preparation& preparation = *candidates.preparation;
      const int count = int(candidates.formats.size());
      if (const Accelerator* design = find_design(accelerators, preparation.design)) {
        for (int choice = first; choice < first + count; ++choice) searched.push_back(choice);
        searches_.push_back({index, CandidateSearch(study.weights, first, count, *design, run_.config_.search)});
      } else {
        study.results.skipped.push_back(
            {.model = study.model.name(),
             .stage = Stage::search,
             .subject = std::string(preparation.layerwise),
             .reason = fmt::format("no accelerator of the config has design \"{}\", which runs its weights",
                                   preparation.design)});
      }
      first += count;
    }
    return searched;
  }

  StudyRun& run_;
  std::vector<SearchImages> images_;  // (studies), which searches refer to
  std::list<HeldImages> held_;
  std::vector<Search> searches_;
};

void StudyRun::search(const std::vector<Accelerator>& accelerators) {
  SearchPhase phase(*this, accelerators);
  phase.begin();
  for (int round = 1; phase.do_round(round); ++round) {
  }
  phase.finish();
}

void StudyRun::prepare(const std::vector<std::vector<int>>& candidates) {
  std::size_t layers = 0, done = 0;
  for (const auto& study : studies_) layers += study->model.layers().size();
  Progress progress(evaluator_.ranks().root(), label("quantize the candidates"), double(layers));
  for (std::size_t i = 0; i < studies_.size(); ++i) {
    studies_[i]->weights.prepare(candidates[i], [&] { progress.update(double(++done)); });
  }
}

void StudyRun::give(const std::vector<GivenAssignment>& assignments) {
  for (const GivenAssignment& one : assignments) {
    const auto of = std::ranges::find_if(studies_, [&](const auto& study) { return study->model.name() == one.model; });
    Study& study = **of;
    std::vector<WeightFormat> formats;
    evaluator_.ranks().on_all(
        [&] { formats = load_assignment(one.path, study.model.layer_names(), config_.reference); });
    study.given.push_back(study.weights.given(assignment_name(one.path), formats, one.path));
  }
}

/// What was given counts as found.
void StudyRun::take_given(Study& study) {
  for (const NamedAssignment& given : study.given) {
    const auto rows = study.weights.rows(given);
    study.results.assignments.insert(study.results.assignments.end(), rows.begin(), rows.end());
    study.found.push_back(given);
  }
}

void StudyRun::assign_without_search() {
  const bool any_given = std::ranges::any_of(studies_, [](const auto& study) { return !study->given.empty(); });
  std::vector<std::vector<int>> choices;
  for (const auto& study : studies_) {
    if (!any_given) study->given = study->weights.uniform();
    choices.emplace_back();
    for (const NamedAssignment& given : study->given) add_choices(given, choices.back());
  }
  prepare(choices);
  for (const auto& study : studies_) take_given(*study);
}

std::vector<const PreparedModel*> StudyRun::models() const {
  std::vector<const PreparedModel*> models;
  for (const auto& study : studies_) models.push_back(&study->model);
  return models;
}

void StudyRun::take_float(std::size_t index, JudgedImages& judged, std::vector<ImageScore> scores, double seconds) {
  judged.baseline = std::move(scores);
  Study& study = *studies_[index];
  if (evaluator_.ranks().root() && !study.doubted) {
    const std::string doubt =
        label_order_doubt(judged.baseline, judged.images->labels, study.model.network().classes());
    study.doubted = !doubt.empty();
    if (study.doubted) {
      fmt::print(stderr, "bitcluster: warning: {}, split '{}': {}\n", study.model.name(), judged.images->split, doubt);
    }
  }
  study.results.evaluations.push_back(
      evaluation_row(study.weights, judged, "float", nullptr, judged.baseline, seconds));
}

/// What is tested of a model, the integer network first.
std::vector<NamedAssignment> StudyRun::tested(const Study& study) {
  std::vector<NamedAssignment> tested = {study.weights.reference()};
  tested.insert(tested.end(), study.found.begin(), study.found.end());
  return tested;
}

StudyRun::Emulation StudyRun::list_emulations(const std::vector<Basis>& bases) {
  Emulation emulation;
  const Config::EmulationOptions& options = config_.emulation;
  for (int index = 0; index < int(studies_.size()); ++index) {
    Study& study = *studies_[index];
    std::shared_ptr<const Images> images;
    if (!bases.empty()) {
      images = inputs_.images(study.model.data(), options.split, options.images, study.model.network());
      add_study(study.model.name(), index, study.model.layer_names(), bases, study.weights.reference(), study.found,
                images->count, emulation.list);
      if (const Accelerator* design = find_design(bases[0].accelerators, bitcluster_weights.design);
          design && study.found.empty()) {
        study.results.skipped.push_back({.model = study.model.name(),
                                         .stage = Stage::emulation,
                                         .subject = design->name,
                                         .reason = "no assignment was found for it"});
      }
    }
    for (const NamedAssignment& given : study.given) {
      const std::string_view design = given.preparation->design;
      if (bases.empty() || find_design(bases[0].accelerators, design)) continue;
      study.results.skipped.push_back(
          {.model = study.model.name(),
           .stage = Stage::emulation,
           .subject = given.name,
           .reason = fmt::format("no accelerator of the config has design \"{}\", which runs its weights", design)});
    }
    emulation.emulators.emplace_back(study.weights, std::move(images));
  }
  return emulation;
}

void StudyRun::conclude(bool test, const std::vector<Basis>& bases) {
  ScoringWork batch;
  std::vector<JudgedImages> judged;
  for (const auto& study : studies_) {
    if (!test) break;
    const PreparedModel& model = study->model;
    judged.push_back(
        {inputs_.images(model.data(), config_.search.test_split, config_.search.test_images, model.network()), {}});
    batch.floats.push_back(judged.back().float_request(model));
    ScoreRequest& request =
        batch.requests.emplace_back(ScoreRequest{model.backend(), model.integer(), judged.back().images, {}});
    for (const NamedAssignment& one : tested(*study)) request.variants.push_back(study->weights.variant(one.choices));
  }
  Emulation listed = list_emulations(bases);
  const StudyEmulations emulations(std::move(listed.list), std::move(listed.emulators), models(), !test, evaluator_,
                                   step_counter_);
  batch.others = emulations.work().tasks();
  std::string step = test ? config_.search.test_split + " split" : "emulate";
  if (test && !bases.empty()) step += " and emulation";
  const Stopwatch watch;
  ScoringResult result = evaluator_.work_on(batch, label(step));
  const double seconds = test ? seconds_each(watch, batch) : 0;
  for (std::size_t i = 0; i < judged.size(); ++i) {
    take_float(i, judged[i], std::move(result.floats[i]), seconds);
    const std::vector<NamedAssignment> assignments = tested(*studies_[i]);
    for (std::size_t a = 0; a < assignments.size(); ++a) {
      const NamedAssignment& one = assignments[a];
      EvaluationRow& row = studies_[i]->results.evaluations.emplace_back(
          evaluation_row(studies_[i]->weights, judged[i], one.name, &one.choices, result.scores[i][a], seconds));
      row.budget = one.budget;
      row.within_budget = one.within_budget;
    }
  }
  const EmulationList& list = emulations.list();
  const std::vector<LayerEmulation> sums = emulations.work().sums(result.others);
  for (const EmulationTask& task : list.tasks) {
    if (task.image > 0) continue;  // the row is there
    studies_[task.model]->results.emulation.push_back(emulation_row(list.rows[task.row], sums[task.row]));
  }
}

void StudyRun::append_to(Results& results) const {
  for (const auto& study : studies_) append_rows(results, study->results);
}

}  // namespace bitcluster
