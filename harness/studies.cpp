#include "harness/studies.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>

#include "harness/progress.hpp"
#include "harness/rows.hpp"

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

/// Its share of the wall time of all that ran at once [s].
double seconds_each(const Stopwatch& watch, const std::vector<ScoreRequest>& requests) {
  std::size_t variants = 0;
  for (const ScoreRequest& request : requests) variants += request.variants.size();
  return watch.seconds() / double(variants);
}

}  // namespace

Studies::Studies(const Inputs& inputs, Evaluator& evaluator, const Engine& engine, const Config& config,
                 std::vector<Network> networks)
    : evaluator_(evaluator), config_(config), walker_(engine.walker.get()) {
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

void Studies::score_float(const std::string& split) {
  std::vector<FloatRequest> requests;
  for (const auto& study : studies_) requests.push_back(study->float_request());
  const Stopwatch watch;
  std::vector<std::vector<ImageScore>> scores = evaluator_.score_float(requests, label("float, " + split + " split"));
  const double seconds = watch.seconds() / double(studies_.size());
  for (std::size_t i = 0; i < studies_.size(); ++i) studies_[i]->take_float(std::move(scores[i]), seconds);
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
  score_float(config_.search.split);
  std::vector<CandidateSearch> searches = begin_searches(accelerators);
  std::vector<EmulationTask> tasks;  // of all searches
  std::vector<std::size_t> ends;
  for (const CandidateSearch& search : searches) {
    const std::vector<EmulationTask> own = search.cost_tasks();
    tasks.insert(tasks.end(), own.begin(), own.end());
    ends.push_back(tasks.size());
  }
  const std::vector<LayerEmulation> costs = emulate(tasks, "costs of the candidates");
  auto from = costs.begin();
  for (std::size_t i = 0; i < searches.size(); ++i) {
    const auto to = costs.begin() + std::ptrdiff_t(ends[i]);
    searches[i].take_costs({from, to});
    from = to;
  }

  for (int round = 1;; ++round) {
    std::vector<ScoreRequest> requests;
    std::vector<CandidateSearch*> asking;
    std::size_t assignments = 0;
    for (CandidateSearch& search : searches) {
      if (auto request = search.next()) {
        assignments += request->variants.size();
        requests.push_back(std::move(*request));
        asking.push_back(&search);
      }
    }
    if (requests.empty()) break;
    const Stopwatch watch;
    const std::vector<Scores> scores = evaluator_.score(
        requests, label("search round " + std::to_string(round) + ", " + counted(assignments, "assignment")));
    const double seconds = seconds_each(watch, requests);
    for (std::size_t i = 0; i < asking.size(); ++i) asking[i]->take(scores[i], seconds);
  }
  for (CandidateSearch& search : searches) search.finish();
}

void Studies::test() {
  for (const auto& study : studies_) study->drop_images();
  for (const auto& study : studies_) study->read_test_images();
  score_float(config_.search.test_split);
  std::vector<ScoreRequest> requests;
  for (const auto& study : studies_) requests.push_back(study->test_request());
  const Stopwatch watch;
  const std::vector<Scores> scores =
      evaluator_.score(requests, label("integer, " + config_.search.test_split + " split"));
  const double seconds = seconds_each(watch, requests);
  for (std::size_t i = 0; i < studies_.size(); ++i) studies_[i]->take_test(scores[i], seconds);
}

void Studies::assign_uniformly() {
  for (const auto& study : studies_) study->assign_uniformly();
}

std::vector<LayerEmulation> Studies::emulate(const std::vector<EmulationTask>& tasks, const std::string& step) {
  // the dearest first, but one image after the other: a rank has activations of one at a time
  std::vector<std::size_t> order(tasks.size());
  std::iota(order.begin(), order.end(), std::size_t(0));
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto key = [](const EmulationTask& task) { return std::pair(task.image, -task.study->products(task.layer)); };
    return key(tasks[a]) < key(tasks[b]);
  });
  const auto work = [&](long index) {
    const EmulationTask& task = tasks[order[index]];
    const LayerEmulation emulation = task.study->emulate(task, walker_);
    Payload payload(sizeof emulation);
    std::memcpy(payload.data(), &emulation, sizeof emulation);
    return payload;
  };
  Progress progress(evaluator_.ranks().root(), label(step), long(tasks.size()));
  TaskList list{long(tasks.size()), work, [&](long done) { progress.update(done); }, {}, {}, {}};
  std::vector<Key> keys;
  if (Journal* const journal = evaluator_.journal()) {
    for (const std::size_t i : order) keys.push_back(tasks[i].study->key(tasks[i], evaluator_.keys()));
    list.find = [&keys, journal](long task) -> std::optional<Payload> {
      const auto found = journal->find(keys[task]);
      if (!found) return std::nullopt;
      return Payload(found->begin(), found->end());
    };
    list.keep = [&keys, journal](long task, const Payload& payload) { journal->append(keys[task], payload); };
  }
  std::vector<LayerEmulation> emulations(tasks.size());
  const std::vector<Payload> payloads = evaluator_.ranks().distribute(list);
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::memcpy(&emulations[order[i]], payloads[i].data(), sizeof(LayerEmulation));
  }
  return emulations;
}

void Studies::emulate(const std::vector<Basis>& bases) {
  for (const auto& study : studies_) study->drop_images();
  std::vector<EmulationTask> tasks;
  for (const auto& study : studies_) {
    const std::vector<EmulationTask> own = study->emulation_tasks(bases);
    tasks.insert(tasks.end(), own.begin(), own.end());
  }
  const std::vector<LayerEmulation> emulations = emulate(tasks, "emulate");

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
