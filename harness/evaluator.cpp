#include "harness/evaluator.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>

#include "harness/keys.hpp"
#include "harness/progress.hpp"
#include "harness/tiles.hpp"
#include "host/cpu_kernels.hpp"
#include "host/float_network.hpp"
#include "host/pass.hpp"

namespace bitcluster {

/// What preparing a weight for the kernels costs, about (AlexNet and VGG-16, measured by --plan with AVX-512 VNNI).
constexpr double products_per_weight = 1000;

VariantCost variant_cost(const Network& network, const Variant& variant) {
  const Pass own = variant_pass(network, variant), shared = reference_pass(network, std::span(&own, 1));
  VariantCost cost{1, 0};  // so that nothing is free
  for (const WeightChange& change : variant) cost.tile += products_per_weight * double(change.weights->values.size());
  for (const int layer : weighted_layers(network)) {
    const double products = double(multiply_accumulates(network, layer));
    if (own.computes[layer]) cost.own += products;
    if (shared.computes[layer]) cost.shared += products;
  }
  return cost;
}

namespace {

/// Of every block: its pixels and labels.
std::vector<Key> block_keys(const Images& images) {
  std::vector<Key> keys;
  const std::size_t size = images.shape.size();
  for (int first = 0; first < images.count; first += block_images) {
    const int count = std::min(block_images, images.count - first);
    keys.push_back(KeyBuilder()
                       .add(std::span<const std::uint8_t>(images.pixels).subspan(first * size, count * size))
                       .add(std::span<const std::int32_t>(images.labels).subspan(first, count))
                       .key());
  }
  return keys;
}

}  // namespace

Evaluator::NamedImages::NamedImages(Evaluator& evaluator, const Images& images)
    : evaluator_(evaluator), images_(images) {
  if (evaluator.journal_) keys_ = block_keys(images);
  evaluator.named_ = this;
}

std::vector<std::vector<ImageScore>> Evaluator::score_variants(Request request, const Images& images, int classes,
                                                               const std::string& label, const Work& work) {
  const int variants = int(request.costs.size()), blocks = (images.count + block_images - 1) / block_images;
  const auto first_of = [&](int block) { return std::min(block * block_images, images.count); };
  std::vector<std::vector<ImageScore>> scores(variants, std::vector<ImageScore>(images.count));
  const auto block_of = [&](int v, int block) {
    return std::span(scores[v]).subspan(first_of(block), first_of(block + 1) - first_of(block));
  };
  request.extents.resize(variants, {images.count, false});

  // what is known already; several variants of one content are worked out once
  std::vector<std::byte> known(std::size_t(variants) * blocks);
  std::vector<Key> cells(known.size());
  std::vector<int> same(variants);  // the first variant of equal content
  std::iota(same.begin(), same.end(), 0);
  if (journal_) {
    std::map<Key, int> first;
    for (int v = 0; v < variants; ++v) same[v] = first.try_emplace(request.keys[v], v).first->second;
    const bool is_named = named_ && &named_->images_ == &images;
    const std::vector<Key> of_images = is_named ? named_->keys_ : block_keys(images);
    for (int block = 0; block < blocks; ++block) {
      for (int v = 0; v < variants; ++v) {
        const std::size_t cell = std::size_t(v) * blocks + block;
        cells[cell] = KeyBuilder().add(request.keys[v]).add(of_images[block]).key();
        const auto payload = journal_->find(cells[cell]);
        known[cell] = std::byte(same[v] != v || payload);
        if (payload) std::memcpy(block_of(v, block).data(), payload->data(), payload->size());
      }
    }
  }
  ranks_.broadcast(known);
  ranks_.broadcast(std::as_writable_bytes(std::span(same)));
  const std::vector<Extent> asked = request.extents;
  for (int v = 0; v < variants; ++v) {
    Extent& shared = request.extents[same[v]];
    shared.images = std::max(shared.images, asked[v].images);
    shared.may_stop = shared.may_stop && asked[v].may_stop;
  }

  const std::vector<Tile> tiles = cut_in_stages(request.costs, request.extents, images.count, known, ranks_.size());
  Progress progress(ranks_.root(), label, long(tiles.size()));
  TaskList list;
  list.tasks = long(tiles.size());
  list.work = [&](long task) {
    const Tile& tile = tiles[task];
    const int first = tile.first_image, count = tile.images;
    const std::vector<float> logits = work(tile.variants, first, count);
    std::vector<ImageScore> of_tile(tile.variants.size() * count);
    for (std::size_t v = 0; v < tile.variants.size(); ++v) {
      bitcluster::score(std::span(logits).subspan(v * count * classes, std::size_t(count) * classes),
                        std::span(images.labels).subspan(first, count), classes,
                        std::span(of_tile).subspan(v * count, count));
    }
    Payload payload(of_tile.size() * sizeof(ImageScore));
    std::memcpy(payload.data(), of_tile.data(), payload.size());
    return payload;
  };
  list.done = [&](long done) { progress.update(done); };
  // scores come in tiles, and count by blocks
  std::vector<int> missing;  // images of every cell
  const auto take = [&](long task, const Payload& payload, const auto& see_block) {
    if (payload.empty()) return;
    const Tile& tile = tiles[task];
    const std::size_t bytes = tile.images * sizeof(ImageScore);
    const int end = tile.first_image + tile.images;
    for (std::size_t i = 0; i < tile.variants.size(); ++i) {
      const int v = tile.variants[i];
      std::memcpy(scores[v].data() + tile.first_image, payload.data() + i * bytes, bytes);
      for (int block = tile.first_image / block_images; first_of(block) < end; ++block) {
        int& left = missing[std::size_t(v) * blocks + block];
        left -= std::min(end, first_of(block + 1)) - std::max(tile.first_image, first_of(block));
        if (left == 0) see_block(v, block);
      }
    }
  };
  const auto start_looks = [&](bool with_known) {
    Looks looks(request.extents, request.stop, images.count);
    missing.clear();
    for (int v = 0; v < variants; ++v) {
      for (int block = 0; block < blocks; ++block) {
        missing.push_back(first_of(block + 1) - first_of(block));
        if (with_known && known[missing.size() - 1] != std::byte(0) && same[v] == v) looks.arrive(v, block, scores[v]);
      }
    }
    return looks;
  };
  Looks looks = start_looks(ranks_.root());  // of the root, while results come in
  list.keep = [&](long task, const Payload& payload) {
    take(task, payload, [&](int v, int block) {
      if (journal_) journal_->append(cells[std::size_t(v) * blocks + block], std::as_bytes(block_of(v, block)));
      looks.arrive(v, block, scores[v]);
    });
  };
  list.needed = [&](long task) {
    const std::vector<int>& chosen = tiles[task].variants;
    return !std::all_of(chosen.begin(), chosen.end(), [&](int v) { return looks.stopped(v); });
  };
  const auto payloads = ranks_.distribute(list);
  // what the root found
  std::vector<std::byte> found;
  const auto for_each_found = [&](const auto& action) {
    for (int v = 0; v < variants; ++v) {
      for (int block = 0; block < blocks; ++block) {
        if (known[std::size_t(v) * blocks + block] != std::byte(0) && same[v] == v) action(block_of(v, block));
      }
    }
  };
  for_each_found([&](std::span<ImageScore> part) {
    const auto bytes = std::as_bytes(part);
    found.insert(found.end(), bytes.begin(), bytes.end());
  });
  ranks_.broadcast(found);
  const std::byte* from = found.data();
  for_each_found([&](std::span<ImageScore> part) {
    std::memcpy(part.data(), from, part.size_bytes());
    from += part.size_bytes();
  });

  // the same looks on all ranks, at the same scores
  Looks last = start_looks(true);
  for (long task = 0; task < list.tasks; ++task) {
    take(task, payloads[task], [&](int v, int block) { last.arrive(v, block, scores[v]); });
  }
  std::vector<std::vector<ImageScore>> result;
  for (int v = 0; v < variants; ++v) {
    const auto begin = scores[same[v]].begin();
    result.emplace_back(begin, begin + std::min(asked[v].images, last.images(same[v])));
  }
  return result;
}

std::vector<ImageScore> Evaluator::score_float(const Network& network, const Images& images,
                                               const std::vector<float>& input_table, const std::string& label) {
  std::vector<Key> keys;
  if (journal_) {
    // float sums differ between instruction sets
    keys.push_back(
        KeyBuilder().add(content_key(network)).add(best_kernels().name).add(std::span<const float>(input_table)).key());
  }
  return score_variants({keys, {{1, 0}}, {}, {}}, images, network.classes(), label,
                        [&](std::span<const int>, int first, int count) {
                          return run_float(network, preprocess(images, input_table, first, count), count);
                        })[0];
}

std::vector<std::vector<ImageScore>> Evaluator::score(const IntegerNetwork& network, const Images& images,
                                                      const std::vector<Variant>& variants, const std::string& label,
                                                      std::vector<Extent> extents, const StopTest& stop) {
  const int classes = network.network.classes();
  std::vector<Key> keys;
  if (journal_) {
    const Key common = content_key(network);
    std::map<const QuantizedWeights*, Key> known;  // variants share weights
    const auto of_weights = [&](const QuantizedWeights& weights) {
      const auto [place, is_new] = known.try_emplace(&weights);
      if (is_new) place->second = content_key(weights);
      return place->second;
    };
    for (const Variant& variant : variants) {
      std::vector<const QuantizedWeights*> weights;
      for (const QuantizedWeights& reference : network.weights) weights.push_back(&reference);
      for (const WeightChange& change : variant) weights[change.layer] = change.weights.get();
      KeyBuilder builder;
      builder.add(common);
      for (const QuantizedWeights* of_layer : weights) builder.add(of_weights(*of_layer));
      keys.push_back(builder.key());
    }
  }
  std::vector<VariantCost> costs;
  for (const Variant& variant : variants) costs.push_back(variant_cost(network.network, variant));
  backend_.load(network);
  return score_variants({keys, costs, std::move(extents), stop}, images, classes, label,
                        [&](std::span<const int> chosen, int first, int count) {
                          std::vector<Variant> some;
                          for (const int v : chosen) some.push_back(variants[v]);
                          std::vector<float> logits(some.size() * count * classes);
                          backend_.evaluate({images.image(first), count}, some, logits);
                          return logits;
                        });
}

}  // namespace bitcluster
