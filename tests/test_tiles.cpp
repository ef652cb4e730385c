#include <gtest/gtest.h>

#include <random>

#include "harness/tiles.hpp"

namespace bitcluster {
namespace {

/// How often the tiles have every (variant, block).
std::vector<int> cover(const std::vector<Tile>& tiles, int variants, int blocks) {
  std::vector<int> times(std::size_t(variants) * blocks);
  for (const Tile& tile : tiles) {
    for (const int variant : tile.variants) {
      for (int block = tile.first_block; block < tile.first_block + tile.blocks; ++block) {
        ++times.at(std::size_t(variant) * blocks + block);
      }
    }
  }
  return times;
}

TEST(Tiles, CoverExactlyWhatIsNotKnown) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int variants = pick(0, 20), blocks = pick(0, 40), ranks = pick(1, 64), share = pick(0, 4);
    std::vector<double> costs(variants);
    for (double& cost : costs) cost = pick(1, 100);
    std::vector<std::byte> known(std::size_t(variants) * blocks);
    for (std::byte& one : known) one = std::byte(pick(0, 3) < share);
    const std::vector<Tile> tiles = cut(costs, blocks, known, ranks);
    const std::vector<int> times = cover(tiles, variants, blocks);
    for (std::size_t cell = 0; cell < known.size(); ++cell) ASSERT_EQ(times[cell], known[cell] == std::byte(0));
  }
}

TEST(Tiles, TheDearestComeFirst) {
  const std::vector<Tile> tiles = cut({1, 50, 3, 20, 7}, 11, std::vector<std::byte>(5 * 11), 4);
  for (std::size_t i = 1; i < tiles.size(); ++i) EXPECT_GE(tiles[i - 1].cost, tiles[i].cost);
}

TEST(Tiles, NothingToDoGivesNone) {
  EXPECT_TRUE(cut({1, 2}, 3, std::vector<std::byte>(6, std::byte(1)), 2).empty());
  EXPECT_TRUE(cut({}, 3, {}, 2).empty());
  EXPECT_TRUE(cut({1}, 0, {}, 2).empty());
}

}  // namespace
}  // namespace bitcluster
