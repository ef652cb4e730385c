#include "harness/tiles.hpp"

#include <algorithm>

namespace bitcluster {
namespace {

/// Images that a tile has at least: with fewer, reading the weights costs as much as using them.
constexpr int least_images = 16;

/// The cost of a tile is 1 / (2 x ranks) of what is left, within these shares of the whole per rank.
constexpr double largest_share = 1.0 / 8, smallest_share = 1.0 / 64;

/// But a tile has this many times the work that it costs beside its images, as long as there are tiles for all ranks.
constexpr double work_per_tile = 4;

/// Blocks before every look at variants that may stop, and all of them.
std::vector<int> stage_ends(int blocks) {
  std::vector<int> ends;
  for (const int parts : {8, 4, 2, 1}) {
    const int end = (blocks + parts - 1) / parts;
    if (ends.empty() || end > ends.back()) ends.push_back(end);
  }
  return ends;
}

int blocks_of(int images) { return (images + block_images - 1) / block_images; }

}  // namespace

double cost_of(std::span<const VariantCost> costs, std::span<const int> variants) {
  double own = 0, shared = 0;
  for (const int variant : variants) {
    own += costs[variant].own;
    shared = std::max(shared, costs[variant].shared);
  }
  return own + shared;
}

std::vector<Tile> cut(std::span<const VariantCost> costs, int images, const std::vector<std::byte>& known, int ranks) {
  const int blocks = blocks_of(images);
  const auto end_of = [&](int block) { return std::min((block + 1) * block_images, images); };
  // variants that share nothing have tiles of their own: the fewer variants in one, the fewer weights are read for it
  std::vector<std::vector<int>> groups(1);
  for (int variant = 0; variant < int(costs.size()); ++variant) {
    if (costs[variant].shared > 0) {
      groups[0].push_back(variant);
    } else {
      groups.push_back({variant});
    }
  }
  std::vector<std::vector<std::vector<int>>> all_wanted;  // (groups, blocks): variants
  double whole = 0;
  for (const std::vector<int>& group : groups) {
    std::vector<std::vector<int>>& wanted = all_wanted.emplace_back(blocks);
    for (int block = 0; block < blocks; ++block) {
      for (const int variant : group) {
        if (known[std::size_t(variant) * blocks + block] == std::byte(0)) wanted[block].push_back(variant);
      }
      whole += cost_of(costs, wanted[block]) * (end_of(block) - block * block_images);
    }
  }
  std::vector<Tile> tiles;
  double left = whole;
  for (const std::vector<std::vector<int>>& wanted : all_wanted) {
    for (int first = 0; first < images;) {
      int block = first / block_images;
      const std::vector<int>& variants = wanted[block];
      while (block + 1 < blocks && wanted[block + 1] == variants) ++block;
      const int end = end_of(block);
      if (variants.empty()) {
        first = end;
        continue;
      }
      double beside = 0;
      for (const int variant : variants) beside += costs[variant].tile;
      const double least = std::min(work_per_tile * beside, whole / ranks);
      const double target =
          std::max(least, std::clamp(left / (2 * ranks), whole * (ranks > 1 ? smallest_share : largest_share) / ranks,
                                     whole * largest_share / ranks));
      const double per_image = cost_of(costs, variants);
      const int count =
          std::min(std::max(least_images, int(target / per_image) / least_images * least_images), end - first);
      // all variants, or where that is too much, as many at a time as the target allows
      Tile tile{{}, first, count, 0};
      for (const int variant : variants) {
        std::vector<int> more = tile.variants;
        more.push_back(variant);
        const double cost = cost_of(costs, more) * count;
        if (!tile.variants.empty() && per_image * count > target && cost > target) {
          tiles.push_back(std::move(tile));
          tile = {{variant}, first, count, (costs[variant].own + costs[variant].shared) * count};
        } else {
          tile.variants = std::move(more);
          tile.cost = cost;
        }
      }
      tiles.push_back(std::move(tile));
      left -= per_image * count;
      first += count;
    }
  }
  std::stable_sort(tiles.begin(), tiles.end(), [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
  return tiles;
}

std::vector<Tile> cut_in_stages(std::span<const VariantCost> costs, std::span<const Extent> extents, int images,
                                const std::vector<std::byte>& known, int ranks) {
  const int variants = int(costs.size()), blocks = blocks_of(images);
  std::vector<Tile> tiles;
  int begin = 0;
  for (const int end : stage_ends(blocks)) {
    std::vector<std::byte> others = known;  // and what is not of this stage
    for (int v = 0; v < variants; ++v) {
      for (int block = 0; block < blocks; ++block) {
        const bool now = extents[v].may_stop ? block >= begin && block < end : begin == 0;
        if (!now || block >= blocks_of(extents[v].images)) others[std::size_t(v) * blocks + block] = std::byte(1);
      }
    }
    const std::vector<Tile> stage = cut(costs, images, others, ranks);
    tiles.insert(tiles.end(), stage.begin(), stage.end());
    begin = end;
  }
  return tiles;
}

Looks::Looks(std::vector<Extent> extents, StopTest stop, int images)
    : extents_(std::move(extents)),
      stop_(std::move(stop)),
      ends_(stage_ends(blocks_of(images))),
      arrived_(extents_.size(), std::vector<char>(blocks_of(images))),
      whole_(extents_.size()),
      looks_(extents_.size()) {
  for (const Extent& extent : extents_) images_.push_back(extent.images);
}

void Looks::arrive(int variant, int block, std::span<const ImageScore> scores) {
  if (!extents_[variant].may_stop || stopped(variant)) return;
  arrived_[variant][block] = true;
  int& whole = whole_[variant];
  while (whole < int(arrived_[variant].size()) && arrived_[variant][whole]) ++whole;
  for (std::size_t& look = looks_[variant]; look < ends_.size() && ends_[look] <= whole; ++look) {
    const int seen = ends_[look] * block_images;
    if (seen >= extents_[variant].images) return;
    if (stop_(scores.first(seen))) {
      images_[variant] = seen;
      return;
    }
  }
}

}  // namespace bitcluster
