#include "harness/scoring/evaluator.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <numeric>
#include <optional>

#include "harness/journal/content_keys.hpp"
#include "harness/ranks/progress.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/float_network.hpp"
#include "host/cpu/kernels.hpp"
#include "host/inference/computed_layers.hpp"

namespace bitcluster {

/// What preparing a weight for the kernels costs, about: 1.5 ns (AlexNet and VGG-16, measured by --plan) at 50 products
/// per ns (AVX2, measured likewise) are 80, at five times as many (AVX-512 VNNI) 400.
constexpr double products_per_weight = 200;

/// What an output of a layer costs beside its products, about: MobileNetV2 (0.3 G products, 6.7 M outputs) takes 2.7 ms
/// where VGG-16 would do 0.9 G products (--plan, AVX-512 VNNI).
constexpr double products_per_output = 75;

/// A product in float32 takes about as long as this many in integers: 2 to 4 (--plan of VGG-16, ResNet-50 and
/// MobileNetV2, AVX2 and AVX-512 VNNI).
constexpr double float_products = 3;

VariantCost variant_cost(const Network& network, const Variant& variant) {
  const Pass own = variant_pass(network, variant), shared = reference_pass(network, std::span(&own, 1));
  VariantCost cost{1, 0};  // so that nothing is free
  for (const WeightChange& change : variant) cost.tile += products_per_weight * double(change.weights->values.size());
  std::vector<double> of_layers;
  for (const Layer& layer : network.layers) {
    const bool is_input = std::holds_alternative<Input>(layer.operation);
    of_layers.push_back(is_input ? 0 : products_per_output * double(layer.output.size()));
  }
  for (const int layer : weighted_layers(network)) of_layers[layer] += double(multiply_accumulates(network, layer));
  for (std::size_t layer = 0; layer < of_layers.size(); ++layer) {
    if (own.computes[layer]) cost.own += of_layers[layer];
    if (shared.computes[layer]) cost.shared += of_layers[layer];
  }
  return cost;
}

VariantCost float_cost(const Network& network) {
  VariantCost cost = variant_cost(network, {});
  cost.shared *= float_products;
  for (const int layer : weighted_layers(network)) {
    const auto& convolution = std::get<Convolution>(network.layers[layer].operation);
    cost.tile += products_per_weight * double(convolution.weights.size());
  }
  return cost;
}

Evaluator::Evaluator(const Ranks& ranks, Journal* journal) : ranks_(ranks), journal_(journal) {
  double known[] = {journal ? 1.0 : 0.0, double(thread_count())};
  ranks.largest(known);
  records_ = known[0] > 0;
  most_threads_ = int(known[1]);
}

/// One request, of either kind.
struct Evaluator::Job {
  std::shared_ptr<const Images> images;
  int classes = 0;
  std::vector<VariantCost> costs;
  std::vector<Extent> extents;
  std::vector<StopTest> stops;  //!< of every variant; empty: none stops
  std::vector<Key> keys;        //!< of every variant; on the root only, and only if there is a journal

  /// Logits of some variants (ascending) on a range of images, (variants, images, classes).
  std::function<std::vector<float>(std::span<const int> variants, int first_image, int images)> work;
};

/// The scores of one job, block by block.
class Evaluator::Sheet {
 public:
  Sheet(Job job, const Ranks& ranks, Journal* journal, const std::vector<Key>* of_blocks)
      : job_(std::move(job)),
        journal_(journal),
        variants_(int(job_.costs.size())),
        images_(job_.images->count),
        blocks_((images_ + block_images - 1) / block_images),
        scores_(variants_, std::vector<ImageScore>(images_)),
        known_(std::size_t(variants_) * blocks_),
        same_(variants_) {
    job_.extents.resize(variants_, {images_, false});
    asked_ = job_.extents;
    std::iota(same_.begin(), same_.end(), 0);
    if (journal_) find(*of_blocks);
    ranks.broadcast(known_);
    ranks.broadcast(std::as_writable_bytes(std::span(same_)));
    share_found(ranks);
    for (int v = 0; v < variants_; ++v) {
      Extent& shared = job_.extents[same_[v]];
      shared.images = std::max(shared.images, asked_[v].images);
      shared.may_stop = shared.may_stop && asked_[v].may_stop;
    }
    start();
  }

  Demand demand() const { return {job_.costs, job_.extents, images_, known_}; }

  /// Scores of a tile, (variants, images).
  Payload work(const Tile& tile) const {
    const std::vector<float> logits = job_.work(tile.variants, tile.first_image, tile.images);
    std::vector<ImageScore> scores(tile.variants.size() * tile.images);
    const std::size_t count = tile.images;
    for (std::size_t v = 0; v < tile.variants.size(); ++v) {
      bitcluster::score(std::span(logits).subspan(v * count * job_.classes, count * job_.classes),
                        std::span(job_.images->labels).subspan(tile.first_image, count), job_.classes,
                        std::span(scores).subspan(v * count, count));
    }
    const auto bytes = std::as_bytes(std::span(scores));
    return {bytes.begin(), bytes.end()};
  }

  /// Before the first tile, and before the results of all tiles are taken again.
  void start() {
    looks_.emplace(job_.extents, job_.stops, images_);
    missing_.clear();
    for (int v = 0; v < variants_; ++v) {
      for (int block = 0; block < blocks_; ++block) {
        missing_.push_back(first_of(block + 1) - first_of(block));
        if (is_found(v, block)) looks_->arrive(v, block, scores_[v]);
      }
    }
  }

  /// Scores come in tiles, and count by blocks. A payload is empty where the tile was not needed.
  void take(const Tile& tile, const Payload& payload, bool record) {
    if (payload.empty()) return;
    const std::size_t bytes = tile.images * sizeof(ImageScore);
    const int end = tile.first_image + tile.images;
    for (std::size_t i = 0; i < tile.variants.size(); ++i) {
      const int v = tile.variants[i];
      std::memcpy(scores_[v].data() + tile.first_image, payload.data() + i * bytes, bytes);
      for (int block = tile.first_image / block_images; first_of(block) < end; ++block) {
        int& left = missing_[cell(v, block)];
        left -= std::min(end, first_of(block + 1)) - std::max(tile.first_image, first_of(block));
        if (left > 0) continue;
        if (record && journal_) journal_->append(cells_[cell(v, block)], std::as_bytes(block_of(v, block)));
        looks_->arrive(v, block, scores_[v]);
      }
    }
  }

  bool needs(const Tile& tile) const {
    return !std::all_of(tile.variants.begin(), tile.variants.end(), [&](int v) { return looks_->stopped(v); });
  }

  Scores result() const {
    Scores result;
    for (int v = 0; v < variants_; ++v) {
      const auto begin = scores_[same_[v]].begin();
      result.emplace_back(begin, begin + std::min(asked_[v].images, looks_->images(same_[v])));
    }
    return result;
  }

 private:
  int first_of(int block) const { return std::min(block * block_images, images_); }
  std::size_t cell(int variant, int block) const { return std::size_t(variant) * blocks_ + block; }
  std::span<ImageScore> block_of(int variant, int block) {
    return std::span(scores_[variant]).subspan(first_of(block), first_of(block + 1) - first_of(block));
  }
  bool is_found(int variant, int block) const {
    return known_[cell(variant, block)] != std::byte(0) && same_[variant] == variant;
  }

  /// What is in the journal; several variants of one content are worked out once.
  void find(const std::vector<Key>& of_blocks) {
    std::map<Key, int> first;
    for (int v = 0; v < variants_; ++v) same_[v] = first.try_emplace(job_.keys[v], v).first->second;
    cells_.resize(known_.size());
    for (int block = 0; block < blocks_; ++block) {
      for (int v = 0; v < variants_; ++v) {
        Key& key = cells_[cell(v, block)] = KeyBuilder().add(job_.keys[v]).add(of_blocks[block]).key();
        const auto payload = journal_->find(key);
        known_[cell(v, block)] = std::byte(same_[v] != v || payload);
        if (payload) std::memcpy(block_of(v, block).data(), payload->data(), payload->size());
      }
    }
  }

  /// What the root found, to all ranks.
  void share_found(const Ranks& ranks) {
    std::vector<std::byte> found;
    const auto for_each_found = [&](const auto& action) {
      for (int v = 0; v < variants_; ++v) {
        for (int block = 0; block < blocks_; ++block) {
          if (is_found(v, block)) action(std::as_writable_bytes(block_of(v, block)));
        }
      }
    };
    for_each_found([&](std::span<std::byte> part) { found.insert(found.end(), part.begin(), part.end()); });
    ranks.broadcast(found);
    const std::byte* from = found.data();
    for_each_found([&](std::span<std::byte> part) {
      std::copy_n(from, part.size(), part.begin());
      from += part.size();
    });
  }

  Job job_;
  Journal* journal_;
  int variants_, images_, blocks_;
  std::vector<Extent> asked_;  // job_.extents are of the first of equal variants, for all of them
  Scores scores_;
  std::vector<std::byte> known_;  // (variants, blocks), as in Demand
  std::vector<Key> cells_;        // (variants, blocks)
  std::vector<int> same_;         // the first variant of equal content
  std::vector<int> missing_;      // (variants, blocks): images
  std::optional<Looks> looks_;
};

void Evaluator::add(const std::vector<FloatRequest>& requests, Jobs& jobs) {
  for (const FloatRequest& request : requests) {
    jobs.places.push_back({jobs.jobs.size(), 0, 1});
    jobs.variants.emplace_back();
    Job& job = jobs.jobs.emplace_back();
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
      Job& job = jobs.jobs.emplace_back();
      job.images = request.images;
      job.classes = network.classes();
      jobs.variants.emplace_back();
    }
    Job& job = jobs.jobs[place->second];
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

BatchResult Evaluator::work_on(const Batch& batch, const std::string& label) {
  Jobs jobs;
  add(batch.floats, jobs);
  add(batch.requests, jobs);
  std::vector<Sheet> sheets;
  std::vector<Demand> demands;
  for (Job& job : jobs.jobs) {
    const std::vector<Key>* const of_blocks = records_ ? &keys_.of(ranks_, job.images) : nullptr;
    sheets.emplace_back(std::move(job), ranks_, journal_, of_blocks);
    demands.push_back(sheets.back().demand());
  }
  const std::vector<Tile> tiles = cut(demands, ranks_.size(), most_threads_);

  // the other tasks, then the tiles
  const TaskList& others = batch.others;
  const auto tile_of = [&](long task) -> const Tile& { return tiles[task - others.tasks]; };
  const auto sheet_of = [&](long task) -> Sheet& { return sheets[tile_of(task).demand]; };
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
  for (Sheet& sheet : sheets) sheet.start();
  for (long task = others.tasks; task < list.tasks; ++task) {
    sheet_of(task).take(tile_of(task), payloads[task], false);
  }
  BatchResult result;
  std::vector<Scores> scores;
  for (const Sheet& sheet : sheets) scores.push_back(sheet.result());
  for (std::size_t i = 0; i < jobs.places.size(); ++i) {
    const Place& place = jobs.places[i];
    const auto first = scores[place.job].begin() + std::ptrdiff_t(place.first);
    if (i < batch.floats.size()) {
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
