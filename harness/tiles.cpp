#include "harness/tiles.hpp"

#include <algorithm>

namespace bitcluster {

std::vector<Tile> cut(const std::vector<double>& costs, int blocks, const std::vector<std::byte>& known, int ranks) {
  constexpr int tiles_per_rank = 8;
  const int variants = int(costs.size()), wanted = tiles_per_rank * ranks;
  const int block_ranges = std::clamp(blocks, 1, wanted);
  const int variant_ranges = std::clamp(wanted / block_ranges, 1, std::max(1, variants));
  std::vector<Tile> tiles;
  for (int v = 0; v < variant_ranges; ++v) {
    for (int b = 0; b < block_ranges; ++b) {
      // of a half-known range, blocks with the same unknown variants stay together
      for (int block = int(long(blocks) * b / block_ranges); block < int(long(blocks) * (b + 1) / block_ranges);
           ++block) {
        Tile tile{{}, block, 1, 0};
        for (int i = int(long(variants) * v / variant_ranges); i < int(long(variants) * (v + 1) / variant_ranges);
             ++i) {
          if (known[std::size_t(i) * blocks + block] != std::byte(0)) continue;
          tile.variants.push_back(i);
          tile.cost += costs[i];
        }
        if (tile.variants.empty()) continue;
        const bool follows = !tiles.empty() && tiles.back().variants == tile.variants &&
                             tiles.back().first_block + tiles.back().blocks == block &&
                             block > int(long(blocks) * b / block_ranges);
        if (follows) {
          ++tiles.back().blocks;
          tiles.back().cost += tile.cost;
        } else {
          tiles.push_back(std::move(tile));
        }
      }
    }
  }
  std::stable_sort(tiles.begin(), tiles.end(), [](const Tile& a, const Tile& b) { return a.cost > b.cost; });
  return tiles;
}

}  // namespace bitcluster
