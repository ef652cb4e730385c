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
  const int blocks = (images + block_images - 1) / block_images;
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
      const double target = std::max(
          least, std::clamp(left / (2 * ranks), whole * smallest_share / ranks, whole * largest_share / ranks));
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

}  // namespace bitcluster
