#include "harness/study/study_run.hpp"

#include <chrono>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "harness/ranks/progress.hpp"
#include "harness/scoring/tiles.hpp"
#include "harness/study/rows.hpp"

namespace bitcluster {
namespace {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

std::string counted(std::size_t count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

/// Of every evaluation, its share of the wall time of a batch [s].
double seconds_each(const Stopwatch& watch, const Batch& batch) {
  std::size_t evaluations = batch.floats.size();
  for (const ScoreRequest& request : batch.requests) evaluations += request.variants.size();
  return watch.seconds() / double(evaluations);
}

/// Emulations as tasks of a batch.
class EmulationList {
 public:
  /// alone: the ranks have nothing else to do meanwhile.
  EmulationList(const std::vector<EmulationTask>& tasks, bool alone, Evaluator& evaluator, StepCounter* step_counter)
      : tasks_(tasks), step_counter_(step_counter), journal_(evaluator.journal()) {
    std::vector<double> costs;
    std::vector<int> images;
    for (const EmulationTask& task : tasks) {
      costs.push_back(emulation_cost(*task.accelerator, double(task.study->products(task.layer))));
      images.push_back(task.image);
    }
    constexpr double dear_share = 1.0 / 3;  // of what one rank has to do
    const double share = std::reduce(costs.begin(), costs.end()) / evaluator.ranks().size();
    order_ = emulation_order(costs, images, alone ? dear_share * share : std::numeric_limits<double>::infinity());
    for (const std::size_t i : order_) {
      traits_.push_back({costs[i]});
      if (journal_) keys_.push_back(tasks[i].study->key(tasks[i], evaluator.keys()));
    }
  }

  /// What it refers to must outlive it.
  TaskList list() const {
    TaskList list;
    list.tasks = long(order_.size());
    list.traits = traits_;
    list.work = [this](long index) {
      const EmulationTask& task = tasks_[order_[index]];
      const LayerEmulation emulation = task.study->emulate(task, step_counter_);
      Payload payload(sizeof emulation);
      std::memcpy(payload.data(), &emulation, sizeof emulation);
      return payload;
    };
    if (!journal_) return list;
    list.find = [this](long index) -> std::optional<Payload> {
      const auto found = journal_->find(keys_[index]);
      if (!found) return std::nullopt;
      return Payload(found->begin(), found->end());
    };
    list.keep = [this](long index, const Payload& payload) { journal_->append(keys_[index], payload); };
    return list;
  }

  /// (tasks)
  std::vector<LayerEmulation> emulations(const std::vector<Payload>& payloads) const {
    std::vector<LayerEmulation> result(order_.size());
    for (std::size_t i = 0; i < order_.size(); ++i) {
      std::memcpy(&result[order_[i]], payloads[i].data(), sizeof(LayerEmulation));
    }
    return result;
  }

 private:
  const std::vector<EmulationTask>& tasks_;
  StepCounter* step_counter_;
  Journal* journal_;  // on the root, null elsewhere
  std::vector<std::size_t> order_;
  std::vector<TaskTraits> traits_;  // in this order, as the keys
  std::vector<Key> keys_;
};

}  // namespace

Studies::Studies(const Inputs& inputs, Evaluator& evaluator, const Engine& engine, const Config& config,
                 std::vector<Network> networks)
    : evaluator_(evaluator), config_(config), step_counter_(engine.step_counter.get()) {
  Progress progress(evaluator.ranks().root(), label("calibrate and quantize"), long(networks.size()));
  for (std::size_t i = 0; i < networks.size(); ++i) {
    studies_.push_back(std::make_unique<Study>(inputs, evaluator.ranks(), *engine.backends[i], config, config.models[i],
                                               std::move(networks[i])));
    progress.update(long(i + 1));
  }
}

std::string Studies::label(const std::string& step) const {
  const std::vector<Config::Model>& models = config_.models;
  return (models.size() == 1 ? models[0].name : std::to_string(models.size()) + " models") + ": " + step;
}

std::vector<CandidateSearch> Studies::begin_searches(const std::vector<Accelerator>& accelerators) {
  std::vector<CandidateSearch> searches;
  Progress progress(evaluator_.ranks().root(), label("quantize the candidates"), long(studies_.size()));
  for (std::size_t i = 0; i < studies_.size(); ++i) {
    for (CandidateSearch& search : CandidateSearch::of(*studies_[i], accelerators)) {
      searches.push_back(std::move(search));
    }
    progress.update(long(i + 1));
  }
  return searches;
}

void Studies::search(const std::vector<Accelerator>& accelerators) {
  for (const auto& study : studies_) study->read_search_images();
  std::vector<CandidateSearch> searches = begin_searches(accelerators);
  std::vector<EmulationTask> tasks;  // of all searches
  std::vector<std::size_t> ends;
  for (const CandidateSearch& search : searches) {
    const std::vector<EmulationTask> own = search.cost_tasks();
    tasks.insert(tasks.end(), own.begin(), own.end());
    ends.push_back(tasks.size());
  }
  const EmulationList list(tasks, false, evaluator_, step_counter_);
  Batch first;
  first.others = list.list();
  for (const auto& study : studies_) first.floats.push_back(study->float_request());
  const Stopwatch watch;
  const BatchResult found =
      evaluator_.work_on(first, label("float, " + config_.search.split + " split, and costs of the candidates"));
  const double seconds = seconds_each(watch, first);
  for (std::size_t i = 0; i < studies_.size(); ++i) studies_[i]->take_float(found.floats[i], seconds);
  const std::vector<LayerEmulation> costs = list.emulations(found.others);
  auto from = costs.begin();
  for (std::size_t i = 0; i < searches.size(); ++i) {
    const auto to = costs.begin() + std::ptrdiff_t(ends[i]);
    searches[i].take_costs({from, to});
    from = to;
  }

  for (int round = 1;; ++round) {
    Batch batch;
    std::vector<CandidateSearch*> asking;
    std::size_t assignments = 0;
    for (CandidateSearch& search : searches) {
      if (auto request = search.next()) {
        assignments += request->variants.size();
        batch.requests.push_back(std::move(*request));
        asking.push_back(&search);
      }
    }
    if (asking.empty()) break;
    const Stopwatch of_round;
    const std::vector<Scores> scores =
        evaluator_
            .work_on(batch, label("search round " + std::to_string(round) + ", " + counted(assignments, "assignment")))
            .scores;
    const double each = seconds_each(of_round, batch);
    for (std::size_t i = 0; i < asking.size(); ++i) asking[i]->take(scores[i], each);
  }
  for (CandidateSearch& search : searches) search.finish();
}

void Studies::assign_uniformly() {
  for (const auto& study : studies_) study->assign_uniformly();
}

void Studies::conclude(bool test, const std::vector<Basis>& bases) {
  for (const auto& study : studies_) study->drop_images();
  Batch batch;
  std::vector<EmulationTask> tasks;
  for (const auto& study : studies_) {
    if (test) {
      study->read_test_images();
      batch.floats.push_back(study->float_request());
      batch.requests.push_back(study->test_request());
    }
    if (bases.empty()) continue;
    const std::vector<EmulationTask> own = study->emulation_tasks(bases);
    tasks.insert(tasks.end(), own.begin(), own.end());
  }
  const EmulationList list(tasks, !test, evaluator_, step_counter_);
  batch.others = list.list();
  std::string step = test ? config_.search.test_split + " split" : "emulate";
  if (test && !bases.empty()) step += " and emulation";
  const Stopwatch watch;
  const BatchResult result = evaluator_.work_on(batch, label(step));
  const double seconds = test ? seconds_each(watch, batch) : 0;
  for (std::size_t i = 0; test && i < studies_.size(); ++i) {
    studies_[i]->take_float(result.floats[i], seconds);
    studies_[i]->take_test(result.scores[i], seconds);
  }
  add_emulations(tasks, list.emulations(result.others));
}

void Studies::add_emulations(const std::vector<EmulationTask>& tasks, const std::vector<LayerEmulation>& emulations) {
  // sums over the images, in their order
  struct Row {
    const EmulationTask* task;
    LayerEmulation sum;
    int images = 0;
  };
  std::vector<Row> rows;
  std::map<std::tuple<const Accelerator*, const std::string*, int>, std::size_t> places;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const EmulationTask& task = tasks[i];
    const auto [place, is_new] = places.try_emplace({task.accelerator, task.assignment, task.layer}, rows.size());
    if (is_new) rows.push_back({&task, {}});
    for (int image = 0; image < task.images; ++image) rows[place->second].sum += emulations[i];
    rows[place->second].images += task.images;
  }
  for (const Row& row : rows) {
    const EmulationTask& task = *row.task;
    add_emulation(task.study->name(), *task.assignment, task.basis->name, *task.accelerator,
                  task.study->layer_name(task.layer), row.images, row.sum, task.study->results());
  }
}

void Studies::append_to(Results& results) const {
  for (const auto& study : studies_) append_rows(results, study->results());
}

}  // namespace bitcluster
