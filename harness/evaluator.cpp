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
namespace {

/// Images whose scores are one record of the journal: few enough for a kill to lose little, enough that reading the
/// weights does not dominate.
constexpr int block_images = 128;

/// Products that a variant costs for one image: those of the layers that it computes itself.
double cost_of(const Network& network, const Variant& variant) {
  const Pass pass = variant_pass(network, variant);
  double products = 1;  // so that nothing is free
  for (const int layer : weighted_layers(network)) {
    if (pass.computes[layer]) products += double(multiply_accumulates(network, layer));
  }
  return products;
}

/// Blocks of every variant at which one that may stop is looked at, and the end: an eighth, a quarter and a half of
/// all.
std::vector<int> stage_ends(int blocks) {
  std::vector<int> ends;
  for (const int parts : {8, 4, 2, 1}) {
    const int end = (blocks + parts - 1) / parts;
    if (ends.empty() || end > ends.back()) ends.push_back(end);
  }
  return ends;
}

/// Follows the scores of variants that may stop.
class Looks {
 public:
  Looks(const std::vector<Extent>& extents, const StopTest& stop, std::vector<int> ends, int block_images, int blocks)
      : extents_(extents),
        stop_(stop),
        ends_(std::move(ends)),
        block_images_(block_images),
        arrived_(extents.size(), std::vector<char>(blocks)),
        next_(extents.size()),
        whole_(extents.size()),
        images_(extents.size()) {
    for (std::size_t v = 0; v < extents.size(); ++v) images_[v] = extents[v].images;
  }

  /// The scores of one more block are there; `scores`: of all images of the variant.
  void arrive(int variant, int block, std::span<const ImageScore> scores) {
    if (!extents_[variant].may_stop || stopped(variant)) return;
    arrived_[variant][block] = true;
    int& whole = whole_[variant];
    while (whole < int(arrived_[variant].size()) && arrived_[variant][whole]) ++whole;
    for (std::size_t& look = next_[variant]; look < ends_.size() && ends_[look] <= whole; ++look) {
      const int images = ends_[look] * block_images_;
      if (images >= extents_[variant].images) return;
      if (stop_(scores.first(images))) {
        images_[variant] = images;
        return;
      }
    }
  }

  bool stopped(int variant) const { return images_[variant] < extents_[variant].images; }
  int images(int variant) const { return images_[variant]; }  //!< that count

 private:
  const std::vector<Extent>& extents_;
  const StopTest& stop_;
  std::vector<int> ends_;
  int block_images_;
  std::vector<std::vector<char>> arrived_;  //!< (variants, blocks)
  std::vector<std::size_t> next_;           //!< look of every variant
  std::vector<int> whole_;                  //!< blocks that are there from the first on
  std::vector<int> images_;
};

/// Tiles in the order of the stages: first all blocks of variants that cannot stop and what comes before the first look
/// of the others, then what comes before their second look, and so on, variants apart from each other there.
std::vector<Tile> cut_in_stages(const std::vector<double>& costs, const std::vector<Extent>& extents, int block_images,
                                int blocks, const std::vector<std::byte>& known, int ranks) {
  const int variants = int(costs.size());
  std::vector<Tile> tiles;
  int begin = 0;
  for (const int end : stage_ends(blocks)) {
    std::vector<std::byte> others = known;  // and what is not of this stage
    for (int v = 0; v < variants; ++v) {
      const int wanted = (extents[v].images + block_images - 1) / block_images;
      for (int block = 0; block < blocks; ++block) {
        const bool now = extents[v].may_stop ? block >= begin && block < end : begin == 0;
        if (!now || block >= wanted) others[std::size_t(v) * blocks + block] = std::byte(1);
      }
    }
    std::vector<Tile> stage;
    if (begin == 0) {
      stage = cut(costs, blocks, others, ranks);
    } else {
      for (int v = 0; v < variants; ++v) {
        const auto row = others.begin() + std::ptrdiff_t(v) * blocks;
        for (Tile& tile : cut({costs[v]}, blocks, std::vector<std::byte>(row, row + blocks), ranks)) {
          tile.variants = {v};
          stage.push_back(std::move(tile));
        }
      }
      std::stable_sort(stage.begin(), stage.end(), [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
    }
    tiles.insert(tiles.end(), stage.begin(), stage.end());
    begin = end;
  }
  return tiles;
}

}  // namespace

std::vector<std::vector<ImageScore>> Evaluator::score_variants(Plan plan, const Images& images, int classes,
                                                               const std::string& label, const Work& work) {
  const int variants = int(plan.costs.size()), blocks = (images.count + block_images - 1) / block_images;
  const auto first_of = [&](int block) { return std::min(block * block_images, images.count); };
  std::vector<std::vector<ImageScore>> scores(variants, std::vector<ImageScore>(images.count));
  const auto block_of = [&](int v, int block) {
    return std::span(scores[v]).subspan(first_of(block), first_of(block + 1) - first_of(block));
  };
  plan.extents.resize(variants, {images.count, false});

  // what is known already; several variants of one content are worked out once
  std::vector<std::byte> known(std::size_t(variants) * blocks);
  std::vector<Key> cells(known.size());
  std::vector<int> same(variants);  // the first variant of equal content
  std::iota(same.begin(), same.end(), 0);
  if (journal_) {
    std::map<Key, int> first;
    for (int v = 0; v < variants; ++v) same[v] = first.try_emplace(plan.keys[v], v).first->second;
    for (int block = 0; block < blocks; ++block) {
      const std::size_t size = images.shape.size();
      KeyBuilder of_images;
      of_images.add(std::span<const std::uint8_t>(images.pixels)
                        .subspan(first_of(block) * size, (first_of(block + 1) - first_of(block)) * size));
      of_images.add(
          std::span<const std::int32_t>(images.labels).subspan(first_of(block), first_of(block + 1) - first_of(block)));
      const Key block_key = of_images.key();
      for (int v = 0; v < variants; ++v) {
        const std::size_t cell = std::size_t(v) * blocks + block;
        cells[cell] = KeyBuilder().add(plan.keys[v]).add(block_key).key();
        const auto payload = journal_->find(cells[cell]);
        known[cell] = std::byte(same[v] != v || payload);
        if (payload) std::memcpy(block_of(v, block).data(), payload->data(), payload->size());
      }
    }
  }
  ranks_.broadcast(known);
  ranks_.broadcast(std::as_writable_bytes(std::span(same)));
  const std::vector<Extent> asked = plan.extents;
  for (int v = 0; v < variants; ++v) {
    Extent& shared = plan.extents[same[v]];
    shared.images = std::max(shared.images, asked[v].images);
    shared.may_stop = shared.may_stop && asked[v].may_stop;
  }

  const std::vector<Tile> tiles = cut_in_stages(plan.costs, plan.extents, block_images, blocks, known, ranks_.size());
  Progress progress(ranks_.root(), label, long(tiles.size()));
  TaskList list;
  list.tasks = long(tiles.size());
  list.work = [&](long task) {
    const Tile& tile = tiles[task];
    const int first = first_of(tile.first_block), count = first_of(tile.first_block + tile.blocks) - first;
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
  const auto new_looks = [&] { return Looks(plan.extents, plan.stop, stage_ends(blocks), block_images, blocks); };
  std::vector<char> there(known.size());
  const auto take = [&](long task, const Payload& payload, const auto& see) {
    if (payload.empty()) return;
    const Tile& tile = tiles[task];
    const std::byte* from = payload.data();
    for (const int v : tile.variants) {
      for (int block = tile.first_block; block < tile.first_block + tile.blocks; ++block) {
        const std::span<ImageScore> part = block_of(v, block);
        std::memcpy(part.data(), from, part.size_bytes());
        see(v, block, std::span(from, part.size_bytes()));
        from += part.size_bytes();
      }
    }
  };
  Looks looks = new_looks();  // of the root, while results come in
  for (int v = 0; v < variants; ++v) {
    for (int block = 0; block < blocks; ++block) {
      const std::size_t cell = std::size_t(v) * blocks + block;
      there[cell] = known[cell] != std::byte(0) && same[v] == v;
      if (ranks_.root() && there[cell]) looks.arrive(v, block, scores[v]);
    }
  }
  list.keep = [&](long task, const Payload& payload) {
    take(task, payload, [&](int v, int block, std::span<const std::byte> bytes) {
      if (journal_) journal_->append(cells[std::size_t(v) * blocks + block], bytes);
      looks.arrive(v, block, scores[v]);
    });
  };
  list.needed = [&](long task) {
    const std::vector<int>& chosen = tiles[task].variants;
    return !std::all_of(chosen.begin(), chosen.end(), [&](int v) { return looks.stopped(v); });
  };
  const auto payloads = ranks_.distribute(list);
  for (long task = 0; task < list.tasks; ++task) {
    take(task, payloads[task],
         [&](int v, int block, std::span<const std::byte>) { there[std::size_t(v) * blocks + block] = true; });
  }
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
  Looks last = new_looks();
  for (int v = 0; v < variants; ++v) {
    for (int block = 0; block < blocks; ++block) {
      if (there[std::size_t(v) * blocks + block]) last.arrive(v, block, scores[v]);
    }
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
  return score_variants({keys, {1.0}, {}, {}}, images, network.classes(), label,
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
  std::vector<double> costs;
  for (const Variant& variant : variants) costs.push_back(cost_of(network.network, variant));
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
