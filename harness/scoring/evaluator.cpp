#include "harness/scoring/evaluator.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "harness/ranks/progress.hpp"
#include "harness/scoring/cost.hpp"
#include "harness/scoring/tiles.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/float_network.hpp"
#include "host/cpu/kernels.hpp"

namespace bitcluster {

Evaluator::Evaluator(const Ranks& ranks, Journal* journal) : ranks_(ranks), journal_(journal) {
  double known[] = {journal ? 1.0 : 0.0, double(thread_count())};
  ranks.largest(known);
  records_ = known[0] > 0;
  most_threads_ = int(known[1]);
}

void Evaluator::add(const std::vector<FloatRequest>& requests, Jobs& jobs) {
  for (const FloatRequest& request : requests) {
    jobs.places.push_back({jobs.jobs.size(), 0, 1});
    jobs.variants.emplace_back();
    ScoreJob& job = jobs.jobs.emplace_back();
    job.images = request.images;
    job.classes = request.network.classes();
    job.costs = {float_cost(request.network)};
    if (journal_) {
      // float sums differ between instruction sets
      job.keys.push_back(KeyBuilder()
                             .add(content_key(request.network))
                             .add(best_kernels().name)
                             .add(std::span<const float>(request.input_table))
                             .key());
    }
    // prepared on ranks that have a task for it
    job.work = [&request, prepared = std::shared_ptr<const FloatNetwork>()](std::span<const int>, int first,
                                                                            int count) mutable {
      if (!prepared) prepared = std::make_shared<const FloatNetwork>(request.network);
      std::vector<float> logits;
      const int at_once = float_images_per_thread * thread_count();
      for (int done = 0; done < count; done += at_once) {
        const int here = std::min(at_once, count - done);
        const std::vector<float> part =
            prepared->run(preprocess(*request.images, request.input_table, first + done, here), here);
        logits.insert(logits.end(), part.begin(), part.end());
      }
      return logits;
    };
  }
}

void Evaluator::add(const std::vector<ScoreRequest>& requests, Jobs& jobs) {
  std::map<std::pair<const IntegerNetwork*, const Images*>, std::size_t> known;
  for (const ScoreRequest& request : requests) {
    const auto [place, is_new] = known.try_emplace({request.network.get(), request.images.get()}, jobs.jobs.size());
    const Network& network = request.network->network;
    if (is_new) {
      ScoreJob& job = jobs.jobs.emplace_back();
      job.images = request.images;
      job.classes = network.classes();
      jobs.variants.emplace_back();
    }
    ScoreJob& job = jobs.jobs[place->second];
    std::vector<Variant>& of_job = jobs.variants[place->second];
    jobs.places.push_back({place->second, of_job.size(), request.variants.size()});
    of_job.insert(of_job.end(), request.variants.begin(), request.variants.end());
    for (const Variant& variant : request.variants) job.costs.push_back(variant_cost(network, variant));
    job.extents.insert(job.extents.end(), request.extents.begin(), request.extents.end());
    job.extents.resize(of_job.size(), {request.images->count, false});
    job.stops.resize(of_job.size(), request.stop);
    job.work = [&of = jobs.variants, index = place->second, &request](std::span<const int> chosen, int first,
                                                                      int count) {
      std::vector<Variant> some;
      for (const int v : chosen) some.push_back(of[index][v]);
      std::vector<float> logits(some.size() * count * request.network->network.classes());
      request.backend.evaluate({request.images->pixels(first, count).data(), count}, some, logits);
      return logits;
    };
    for (const Variant& variant : request.variants) {
      if (!journal_) break;
      std::vector<Key> keys = keys_.of(request.network);
      for (const WeightChange& change : variant) keys[1 + change.layer] = keys_.of(change.weights)[0];
      job.keys.push_back(KeyBuilder().add(std::span<const Key>(keys)).key());
    }
  }
}

ScoringResult Evaluator::work_on(const ScoringWork& work, const std::string& label) {
  Jobs jobs;
  add(work.floats, jobs);
  add(work.requests, jobs);
  std::vector<ScoreSheet> sheets;
  std::vector<Demand> demands;
  for (ScoreJob& job : jobs.jobs) {
    const std::vector<Key>* const of_blocks = records_ ? &keys_.of(ranks_, job.images) : nullptr;
    sheets.emplace_back(std::move(job), ranks_, journal_, of_blocks);
    demands.push_back(sheets.back().demand());
  }
  const std::vector<Tile> tiles = cut(demands, ranks_.size(), most_threads_);

  // the other tasks, then the tiles
  const TaskList& others = work.others;
  const auto tile_of = [&](long task) -> const Tile& { return tiles[task - others.tasks]; };
  const auto sheet_of = [&](long task) -> ScoreSheet& { return sheets[tile_of(task).demand]; };
  TaskList list;
  list.tasks = others.tasks + long(tiles.size());
  list.traits = others.traits;
  list.traits.resize(std::size_t(others.tasks));
  for (const Tile& tile : tiles) {
    list.traits.push_back({tile.cost, tile.kind, tile.demand});
  }
  list.work = [&](long task) { return task < others.tasks ? others.work(task) : sheet_of(task).work(tile_of(task)); };
  list.find = [&](long task) { return task < others.tasks && others.find ? others.find(task) : std::nullopt; };
  list.keep = [&](long task, const Payload& payload) {
    if (task >= others.tasks) {
      sheet_of(task).take(tile_of(task), payload, true);
    } else if (others.keep) {
      others.keep(task, payload);
    }
  };
  list.needed = [&](long task) { return task < others.tasks || sheet_of(task).needs(tile_of(task)); };
  double whole = 0;
  for (const TaskTraits& task : list.traits) whole += task.cost;
  Progress progress(ranks_.root(), label, whole);
  list.done = [&](double done) { progress.update(done); };
  std::vector<Payload> payloads = ranks_.distribute(list);

  // the same looks on all ranks, at the same scores
  for (ScoreSheet& sheet : sheets) sheet.start();
  for (long task = others.tasks; task < list.tasks; ++task) {
    sheet_of(task).take(tile_of(task), payloads[task], false);
  }
  ScoringResult result;
  std::vector<Scores> scores;
  for (const ScoreSheet& sheet : sheets) scores.push_back(sheet.result());
  for (std::size_t i = 0; i < jobs.places.size(); ++i) {
    const JobPart& place = jobs.places[i];
    const auto first = scores[place.job].begin() + std::ptrdiff_t(place.first);
    if (i < work.floats.size()) {
      result.floats.push_back(*first);
    } else {
      result.scores.emplace_back(first, first + std::ptrdiff_t(place.count));
    }
  }
  payloads.resize(std::size_t(others.tasks));
  result.others = std::move(payloads);
  return result;
}

}  // namespace bitcluster
