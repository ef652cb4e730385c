#include "harness/evaluator.hpp"

#include <algorithm>
#include <cstring>

#include "harness/progress.hpp"
#include "host/float_network.hpp"

namespace bitcluster {
namespace {

/// A range of variants on a range of images.
struct Tile {
  int first_variant, variants;
  int first_image, images;
};

/// Cuts (variants x images) into tiles: enough of them to keep all ranks busy to the end, few enough that the
/// activations that variants share are computed rarely, and never so few images that reading the weights dominates.
std::vector<Tile> cut(int variants, int images, int ranks) {
  constexpr int tiles_per_rank = 8, fewest_images = 32;
  const int wanted = tiles_per_rank * ranks;
  const int image_ranges = std::clamp(images / fewest_images, 1, wanted);
  const int variant_ranges = std::clamp(wanted / image_ranges, 1, std::max(1, variants));
  std::vector<Tile> tiles;
  for (int v = 0; v < variant_ranges; ++v) {
    const int first_variant = int(long(variants) * v / variant_ranges);
    const int next_variant = int(long(variants) * (v + 1) / variant_ranges);
    for (int i = 0; i < image_ranges; ++i) {
      const int first_image = int(long(images) * i / image_ranges);
      const int next_image = int(long(images) * (i + 1) / image_ranges);
      tiles.push_back({first_variant, next_variant - first_variant, first_image, next_image - first_image});
    }
  }
  return tiles;
}

/// Scores tiles on all ranks; work(tile) gives logits (tile.variants, tile.images, classes).
template <class Work>
std::vector<std::vector<ImageScore>> score_tiles(const Ranks& ranks, int variants, const Images& images, int classes,
                                                 const std::string& label, const Work& work) {
  const std::vector<Tile> tiles = cut(variants, images.count, ranks.size());
  Progress progress(ranks.root(), label, long(tiles.size()));
  const auto payloads = ranks.distribute(
      long(tiles.size()),
      [&](long task) {
        const Tile& tile = tiles[task];
        const std::vector<float> logits = work(tile);
        std::vector<ImageScore> scores(std::size_t(tile.variants) * tile.images);
        const std::span labels(images.labels.data() + tile.first_image, tile.images);
        for (int v = 0; v < tile.variants; ++v) {
          const std::size_t first = std::size_t(v) * tile.images;
          score(std::span(logits).subspan(first * classes, std::size_t(tile.images) * classes), labels, classes,
                std::span(scores).subspan(first, tile.images));
        }
        Payload payload(scores.size() * sizeof(ImageScore));
        std::memcpy(payload.data(), scores.data(), payload.size());
        return payload;
      },
      [&](long done) { progress.update(done); });

  std::vector<std::vector<ImageScore>> result(variants, std::vector<ImageScore>(images.count));
  for (std::size_t task = 0; task < tiles.size(); ++task) {
    const Tile& tile = tiles[task];
    for (int v = 0; v < tile.variants; ++v) {
      std::memcpy(result[tile.first_variant + v].data() + tile.first_image,
                  payloads[task].data() + std::size_t(v) * tile.images * sizeof(ImageScore),
                  tile.images * sizeof(ImageScore));
    }
  }
  return result;
}

}  // namespace

std::vector<ImageScore> Evaluator::score_float(const Network& network, const Images& images,
                                               const std::vector<float>& input_table, const std::string& label) {
  return score_tiles(ranks_, 1, images, network.classes(), label, [&](const Tile& tile) {
    return run_float(network, preprocess(images, input_table, tile.first_image, tile.images), tile.images);
  })[0];
}

std::vector<std::vector<ImageScore>> Evaluator::score(const IntegerNetwork& network, const Images& images,
                                                      const std::vector<Variant>& variants, const std::string& label) {
  const int classes = network.network.classes();
  backend_.load(network);
  return score_tiles(ranks_, int(variants.size()), images, classes, label, [&](const Tile& tile) {
    std::vector<float> logits(std::size_t(tile.variants) * tile.images * classes);
    backend_.evaluate({images.image(tile.first_image), tile.images},
                      std::span(variants).subspan(tile.first_variant, tile.variants), logits);
    return logits;
  });
}

}  // namespace bitcluster
