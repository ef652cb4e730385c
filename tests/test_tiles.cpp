#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <utility>

#include "harness/journal/content_keys.hpp"
#include "harness/scoring/early_stop.hpp"
#include "harness/scoring/tiles.hpp"

namespace bitcluster {
namespace {

/// All images of these variants; nothing is known.
Demand demand_of(const std::vector<VariantCost>& costs, int images) {
  return {costs, std::vector<ScoreExtent>(costs.size(), {images, false}), images,
          std::vector<std::byte>(costs.size() * image_blocks(images))};
}

std::vector<Tile> cut(const Demand& demand, int ranks, int threads = 1) {
  return bitcluster::cut(std::span(&demand, 1), ranks, threads);
}

TEST(Tiles, CoverExactlyWhatIsNotKnown) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int ranks = pick(1, 64), share = pick(0, 4);
    std::vector<Demand> demands;
    std::vector<std::vector<int>> times;  // (demands)(variants, images)
    for (int d = pick(0, 3); d > 0; --d) {
      std::vector<VariantCost> costs(pick(0, 20));
      for (VariantCost& cost : costs) cost = {double(pick(1, 100)), double(pick(0, 100))};
      const int images = pick(0, 2000);
      demands.push_back(demand_of(costs, images));
      for (std::byte& one : demands.back().known) one = std::byte(pick(0, 3) < share);
      times.emplace_back(costs.size() * images);
    }
    for (const Tile& tile : bitcluster::cut(demands, ranks, 1)) {
      ASSERT_GT(tile.images, 0);
      ASSERT_FALSE(tile.variants.empty());
      for (const int variant : tile.variants) {
        for (int i = 0; i < tile.images; ++i) {
          ++times.at(tile.demand).at(std::size_t(variant) * demands[tile.demand].images + tile.first_image + i);
        }
      }
    }
    for (std::size_t d = 0; d < demands.size(); ++d) {
      const int images = demands[d].images;
      for (std::size_t variant = 0; variant < demands[d].costs.size(); ++variant) {
        for (int image = 0; image < images; ++image) {
          const bool wanted = demands[d].known[variant * image_blocks(images) + image / block_images] == std::byte(0);
          ASSERT_EQ(times[d][variant * images + image], wanted ? 1 : 0);
        }
      }
    }
  }
}

TEST(Tiles, VariantsOfATileShareTheReference) {
  const std::vector<VariantCost> costs = {{3, 7}, {10, 0}, {1, 9}};
  EXPECT_EQ(cost_of(costs, std::vector<int>{0}), 10);
  EXPECT_EQ(cost_of(costs, std::vector<int>{0, 2}), 13);
  EXPECT_EQ(cost_of(costs, std::vector<int>{0, 1, 2}), 23);
  EXPECT_EQ(cost_of(costs, {}), 0);
}

TEST(Tiles, TheDearestComeFirstAndNoneIsLarge) {
  const std::vector<VariantCost> costs = {{1, 9}, {50, 0}, {3, 7}, {20, 1}, {7, 3}};
  const int images = 5000, ranks = 4;
  const double whole = (1 + 50 + 3 + 20 + 7 + 9) * double(images);
  const std::vector<Tile> tiles = cut(demand_of(costs, images), ranks);
  for (std::size_t i = 1; i < tiles.size(); ++i) EXPECT_GE(tiles[i - 1].cost, tiles[i].cost);
  EXPECT_LE(tiles.front().cost, whole / (8 * ranks));
  EXPECT_LE(tiles.back().cost, whole / (40 * ranks));
}

TEST(Tiles, OnlyVariantsThatShareAreTogether) {
  for (const Tile& tile : cut(demand_of({{1, 0}, {2, 3}, {1, 0}, {1, 4}}, 4000), 2)) {
    for (const int variant : tile.variants) EXPECT_TRUE(tile.variants.size() == 1 || variant % 2 == 1);
  }
}

/// Few images and many ranks: the variants are cut apart.
TEST(Tiles, ThereAreEnoughForManyRanks) {
  EXPECT_GE(cut(demand_of(std::vector<VariantCost>(8, {1, 0, 0}), 1280), 600).size(), 600u);
}

/// 8 variants x 10,000 images on 512 ranks are 156.25 images per rank: with preparations as dear as 100 images, tiles
/// of about that size are left.
TEST(Tiles, AreNotSmallWherePreparingIsDear) {
  EXPECT_GT(cut(demand_of(std::vector<VariantCost>(8, {1, 0, 0}), 10000), 512).size(), 4000u);
  const std::vector<Tile> tiles = cut(demand_of(std::vector<VariantCost>(8, {1, 0, 100}), 10000), 512);
  EXPECT_GE(tiles.size(), 512u);
  EXPECT_LE(tiles.size(), 600u);
}

/// The tiles of one network alone are as large as its own work allows; beside a network with far more work they may be
/// larger, as there is work for all ranks anyway.
TEST(Tiles, AreLargeWhereOthersHaveWorkForAllRanks) {
  const Demand small = demand_of({{1, 0}}, 1280), large = demand_of(std::vector<VariantCost>(8, {100, 0}), 10000);
  const auto of_small = [](const std::vector<Tile>& tiles) {
    return std::count_if(tiles.begin(), tiles.end(), [](const Tile& tile) { return tile.demand == 0; });
  };
  EXPECT_EQ(of_small(cut(small, 64)), 1280 / 16);
  EXPECT_LE(of_small(bitcluster::cut(std::vector<Demand>{small, large}, 64, 1)), 2);
}

/// Images of a dear network are dealt in fours where sixteen would be much of what a rank does.
TEST(Tiles, AreSmallWhereImagesAreDear) {
  const auto sizes = [](double cost, int ranks, int threads = 1) {
    int least = 1000;
    for (const Tile& tile : cut(demand_of({{cost, 0}}, 1280), ranks, threads)) least = std::min(least, tile.images);
    return least;
  };
  EXPECT_EQ(sizes(1e10, 64), 4);
  EXPECT_EQ(sizes(1e10, 4), 16);
  EXPECT_EQ(sizes(1e9, 64), 16);
  EXPECT_EQ(sizes(1e10, 64, 16), 16);  // one for every thread
}

TEST(Tiles, OfTheSameVariantsAreOfOneKind) {
  const std::vector<Demand> demands = {demand_of({{1, 0, 1}, {1, 0, 1}, {1, 5, 1}, {2, 6, 1}}, 3000),
                                       demand_of({{1, 0, 1}}, 3000), demand_of({{0, 1, 0}}, 3000)};
  std::map<int, std::pair<int, std::vector<int>>> contents;
  for (const Tile& tile : bitcluster::cut(demands, 8, 1)) {
    EXPECT_EQ(tile.kind < 0, tile.demand == 2);  // it needs no preparation
    if (tile.kind < 0) continue;
    const auto content = std::pair(tile.demand, tile.variants);
    EXPECT_EQ(contents.try_emplace(tile.kind, content).first->second, content);
  }
  EXPECT_GE(contents.size(), 4u);
  for (const auto& [kind, content] : contents) EXPECT_LT(kind, int(contents.size()));
}

TEST(EmulationOrder, ImageByImageButWhatIsDearFirst) {
  const std::vector<double> costs = {1, 5, 2, 9, 3, 8};
  const std::vector<int> images = {1, 0, 0, 1, -1, 1};
  using Order = std::vector<std::size_t>;
  EXPECT_EQ(emulation_order(costs, images, 100), (Order{4, 1, 2, 3, 5, 0}));
  EXPECT_EQ(emulation_order(costs, images, 8), (Order{3, 4, 1, 2, 5, 0}));
  EXPECT_EQ(emulation_order(costs, images, 0), (Order{3, 5, 1, 4, 2, 0}));
  EXPECT_EQ(emulation_order({}, {}, 0), Order{});
}

TEST(Tiles, NothingToDoGivesNone) {
  Demand known = demand_of(std::vector<VariantCost>(2, {1, 0}), 300);
  std::fill(known.known.begin(), known.known.end(), std::byte(1));
  EXPECT_TRUE(cut(known, 2).empty());
  EXPECT_TRUE(cut(demand_of({}, 300), 2).empty());
  EXPECT_TRUE(cut(demand_of({{1, 0}}, 0), 2).empty());
  EXPECT_TRUE(bitcluster::cut({}, 2, 1).empty());
}

TEST(Stages, CoverTheExtentsEachLookBeforeTheNext) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 100; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int variants = pick(1, 8), images = pick(1, 4000), ranks = pick(1, 16), blocks = image_blocks(images);
    std::vector<Demand> demands = {demand_of(std::vector<VariantCost>(variants, {1, 0}), images),
                                   demand_of({{3, 0}}, pick(1, 4000))};
    std::vector<ScoreExtent>& extents = demands[0].extents;
    for (ScoreExtent& extent : extents) extent = {pick(1, images), pick(0, 1) == 1};
    std::vector<int> times(std::size_t(variants) * images);
    int stage = 0;
    for (const Tile& tile : bitcluster::cut(demands, ranks, 1)) {
      if (tile.demand == 1) {
        ASSERT_EQ(stage, 0);  // none of it may stop
        continue;
      }
      for (const int variant : tile.variants) {
        for (int i = 0; i < tile.images; ++i) ++times.at(std::size_t(variant) * images + tile.first_image + i);
        const int block = tile.first_image / block_images;
        int own = 0;  // stage of this tile: behind how many looks it lies
        for (const int parts : {8, 4, 2}) own += block >= (blocks + parts - 1) / parts;
        if (!extents[variant].may_stop) own = 0;
        ASSERT_GE(own, stage);
        stage = own;
      }
    }
    for (int variant = 0; variant < variants; ++variant) {
      for (int image = 0; image < images; ++image) {
        // records are whole blocks
        const int wanted = image_blocks(extents[variant].images) * block_images;
        ASSERT_EQ(times[std::size_t(variant) * images + image], image < wanted ? 1 : 0);
      }
    }
  }
}

/// Images that count of a variant that stops where `stop` of the first ones of `count` says so; blocks come in a random
/// order.
int images_after(int count, const ScoreExtent& extent, const StopTest& stop, unsigned seed) {
  std::vector<int> order(image_blocks(extent.images));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  Looks looks({extent}, {stop}, count);
  const std::vector<ImageScore> scores(count);
  for (const int block : order) looks.arrive(0, block, scores);
  EXPECT_EQ(looks.stopped(0), looks.images(0) < extent.images);
  return looks.images(0);
}

TEST(Looks, StopAtTheFirstLookThatSaysSoInAnyOrder) {
  // 32 blocks: looks after 4, 8 and 16
  for (unsigned seed = 0; seed < 20; ++seed) {
    const auto from = [](std::size_t least) {
      return [=](std::span<const ImageScore> first) { return first.size() >= least; };
    };
    EXPECT_EQ(images_after(4000, {4000, true}, from(1), seed), 512);
    EXPECT_EQ(images_after(4000, {4000, true}, from(513), seed), 1024);
    EXPECT_EQ(images_after(4000, {4000, true}, from(1025), seed), 2048);
    EXPECT_EQ(images_after(4000, {4000, true}, from(2049), seed), 4000);
    EXPECT_EQ(images_after(4000, {4000, false}, from(1), seed), 4000);
    EXPECT_EQ(images_after(4000, {500, true}, from(1), seed), 500);  // ends before the first look
    EXPECT_EQ(images_after(100, {100, true}, from(1), seed), 100);   // one block
  }
}

TEST(Looks, EveryVariantHasItsOwnTest) {
  const StopTest always = [](std::span<const ImageScore>) { return true; };
  const StopTest never = [](std::span<const ImageScore>) { return false; };
  Looks looks({{4000, true}, {4000, true}, {4000, false}}, {always, never, always}, 4000);
  const std::vector<ImageScore> scores(4000);
  for (int block = 0; block < 32; ++block) {
    for (int variant = 0; variant < 3; ++variant) looks.arrive(variant, block, scores);
  }
  EXPECT_EQ(looks.images(0), 512);
  EXPECT_EQ(looks.images(1), 4000);
  EXPECT_EQ(looks.images(2), 4000);
}

TEST(Looks, WaitForAllImagesBeforeThem) {
  Looks looks({{4000, true}}, {[](std::span<const ImageScore>) { return true; }}, 4000);
  const std::vector<ImageScore> scores(4000);
  for (const int block : {0, 1, 2, 4, 5, 6, 7}) looks.arrive(0, block, scores);
  EXPECT_FALSE(looks.stopped(0));
  looks.arrive(0, 3, scores);
  EXPECT_EQ(looks.images(0), 512);
}

}  // namespace
}  // namespace bitcluster
