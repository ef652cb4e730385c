#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "harness/tiles.hpp"

namespace bitcluster {
namespace {

TEST(Tiles, CoverExactlyWhatIsNotKnown) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int variants = pick(0, 20), images = pick(0, 2000), ranks = pick(1, 64), share = pick(0, 4);
    const int blocks = (images + block_images - 1) / block_images;
    std::vector<VariantCost> costs(variants);
    for (VariantCost& cost : costs) cost = {double(pick(1, 100)), double(pick(0, 100))};
    std::vector<std::byte> known(std::size_t(variants) * blocks);
    for (std::byte& one : known) one = std::byte(pick(0, 3) < share);
    std::vector<int> times(std::size_t(variants) * images);
    for (const Tile& tile : cut(costs, images, known, ranks)) {
      ASSERT_GT(tile.images, 0);
      ASSERT_FALSE(tile.variants.empty());
      for (const int variant : tile.variants) {
        for (int i = 0; i < tile.images; ++i) ++times.at(std::size_t(variant) * images + tile.first_image + i);
      }
    }
    for (int variant = 0; variant < variants; ++variant) {
      for (int image = 0; image < images; ++image) {
        const bool wanted = known[std::size_t(variant) * blocks + image / block_images] == std::byte(0);
        ASSERT_EQ(times[std::size_t(variant) * images + image], wanted ? 1 : 0);
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
  const std::vector<Tile> tiles = cut(costs, images, std::vector<std::byte>(5 * 40), ranks);
  for (std::size_t i = 1; i < tiles.size(); ++i) EXPECT_GE(tiles[i - 1].cost, tiles[i].cost);
  EXPECT_LE(tiles.front().cost, whole / (8 * ranks));
  EXPECT_LE(tiles.back().cost, whole / (40 * ranks));
}

TEST(Tiles, OnlyVariantsThatShareAreTogether) {
  for (const Tile& tile :
       cut(std::vector<VariantCost>{{1, 0}, {2, 3}, {1, 0}, {1, 4}}, 4000, std::vector<std::byte>(4 * 32), 2)) {
    for (const int variant : tile.variants) EXPECT_TRUE(tile.variants.size() == 1 || variant % 2 == 1);
  }
}

/// Few images and many ranks: the variants are cut apart.
TEST(Tiles, ThereAreEnoughForManyRanks) {
  EXPECT_GE(cut(std::vector<VariantCost>(8, {1, 0, 0}), 1280, std::vector<std::byte>(8 * 10), 600).size(), 600u);
}

/// 8 variants x 10,000 images on 512 ranks are 156.25 images per rank: with preparations as dear as 100 images, tiles
/// of about that size are left.
TEST(Tiles, AreNotSmallWherePreparingIsDear) {
  const std::vector<std::byte> nothing(8 * 79);
  EXPECT_GT(cut(std::vector<VariantCost>(8, {1, 0, 0}), 10000, nothing, 512).size(), 4000u);
  const std::vector<Tile> tiles = cut(std::vector<VariantCost>(8, {1, 0, 100}), 10000, nothing, 512);
  EXPECT_GE(tiles.size(), 512u);
  EXPECT_LE(tiles.size(), 600u);
}

TEST(Tiles, NothingToDoGivesNone) {
  EXPECT_TRUE(cut(std::vector<VariantCost>(2, {1, 0}), 300, std::vector<std::byte>(6, std::byte(1)), 2).empty());
  EXPECT_TRUE(cut({}, 300, {}, 2).empty());
  EXPECT_TRUE(cut(std::vector<VariantCost>(1, {1, 0}), 0, {}, 2).empty());
}

TEST(Stages, CoverTheExtentsEachLookBeforeTheNext) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 100; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int variants = pick(1, 8), images = pick(1, 4000), ranks = pick(1, 16);
    const int blocks = (images + block_images - 1) / block_images;
    std::vector<VariantCost> costs(variants, {1, 0});
    std::vector<Extent> extents(variants);
    for (Extent& extent : extents) extent = {pick(1, images), pick(0, 1) == 1};
    std::vector<int> times(std::size_t(variants) * images);
    int stage = 0;
    for (const Tile& tile :
         cut_in_stages(costs, extents, images, std::vector<std::byte>(std::size_t(variants) * blocks), ranks)) {
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
        const int wanted = (extents[variant].images + block_images - 1) / block_images * block_images;
        ASSERT_EQ(times[std::size_t(variant) * images + image], image < wanted ? 1 : 0);
      }
    }
  }
}

/// Images that count of a variant that stops where `stop` of the first ones of `count` says so; blocks come in a random
/// order.
int images_after(int count, const Extent& extent, const StopTest& stop, unsigned seed) {
  std::vector<int> order((extent.images + block_images - 1) / block_images);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(seed));
  Looks looks({extent}, stop, count);
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

TEST(Looks, WaitForAllImagesBeforeThem) {
  Looks looks(
      {{4000, true}}, [](std::span<const ImageScore>) { return true; }, 4000);
  const std::vector<ImageScore> scores(4000);
  for (const int block : {0, 1, 2, 4, 5, 6, 7}) looks.arrive(0, block, scores);
  EXPECT_FALSE(looks.stopped(0));
  looks.arrive(0, 3, scores);
  EXPECT_EQ(looks.images(0), 512);
}

}  // namespace
}  // namespace bitcluster
