#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "harness/journal/content_keys.hpp"
#include "harness/journal/journal.hpp"
#include "harness/ranks/ranks.hpp"
#include "harness/scoring/early_stop.hpp"
#include "harness/scoring/tiles.hpp"
#include "host/data/dataset.hpp"
#include "host/inference/accuracy.hpp"

namespace bitcluster {

/// Scores of variants, (variants)(images).
using Scores = std::vector<std::vector<ImageScore>>;

/// One request, of either kind.
struct ScoreJob {
  std::shared_ptr<const Images> images;
  int classes = 0;
  std::vector<VariantCost> costs;
  std::vector<ScoreExtent> extents;
  std::vector<StopTest> stops;  //!< of every variant; empty: none stops
  std::vector<Key> keys;        //!< of every variant; on the root only, and only if there is a journal

  /// Logits of some variants (ascending) on a range of images, (variants, images, classes).
  std::function<std::vector<float>(std::span<const int> variants, int first_image, int images)> work;
};

/// The scores of one job, block by block.
class ScoreSheet {
 public:
  /// journal: on the root, null without one; of_blocks: keys of the images' blocks, where there is a journal.
  /// Collective.
  ScoreSheet(ScoreJob job, const Ranks& ranks, Journal* journal, const std::vector<Key>* of_blocks);

  Demand demand() const { return {job_.costs, job_.extents, images_, known_}; }

  /// Scores of a tile, (variants, images).
  Payload work(const Tile& tile) const;

  /// Before the first tile, and before the results of all tiles are taken again.
  void start();

  /// Scores come in tiles, and count by blocks. A payload is empty where the tile was not needed. Error if it has
  /// another size than the tile's scores.
  void take(const Tile& tile, const Payload& payload, bool record);

  bool needs(const Tile& tile) const;

  Scores result() const;

 private:
  int first_of(int block) const { return std::min(block * block_images, images_); }
  std::size_t cell(int variant, int block) const { return std::size_t(variant) * blocks_ + block; }
  std::span<ImageScore> block_of(int variant, int block) {
    return std::span(scores_[variant]).subspan(first_of(block), first_of(block + 1) - first_of(block));
  }
  bool is_found(int variant, int block) const {
    return known_[cell(variant, block)] != std::byte(0) && same_[variant] == variant;
  }

  void find(const std::vector<Key>& of_blocks);
  void share_found(const Ranks& ranks);

  ScoreJob job_;
  Journal* journal_;
  int variants_, images_, blocks_;
  std::vector<ScoreExtent> asked_;  // job_.extents are of the first of equal variants, for all of them
  Scores scores_;
  std::vector<std::byte> known_;  // (variants, blocks), as in Demand
  std::vector<Key> cells_;        // (variants, blocks)
  std::vector<int> same_;         // the first variant of equal content
  std::vector<int> missing_;      // (variants, blocks): images
  std::optional<Looks> looks_;
};

}  // namespace bitcluster
