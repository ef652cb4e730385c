#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "harness/journal/content_keys.hpp"
#include "host/inference/accuracy.hpp"

namespace bitcluster {

/// What a variant costs, in products, per image.
struct VariantCost {
  double own = 0;     //!< of the layers that it computes itself
  double shared = 0;  //!< of the reference's layers that it needs; variants of one tile share them
  double tile = 0;    //!< per tile, not per image: preparing weights
};

/// How many images a variant is scored on.
struct Extent {
  int images = 0;         //!< the first ones
  bool may_stop = false;  //!< after a part of them, if their scores say so
};

/// What has to be scored of one network.
struct Demand {
  std::vector<VariantCost> costs;  //!< of every variant
  std::vector<Extent> extents;     //!< of every variant
  int images = 0;                  //!< of the whole set
  std::vector<std::byte> known;    //!< (variants, blocks of images): 1 where the scores are there already
};

/// Some variants of one demand on a range of its images.
struct Tile {
  int demand = 0;
  std::vector<int> variants;
  int first_image = 0, images = 0;
  double cost = 0;
  int kind = 0;  //!< that all tiles of the same variants have in common; -1: they need no preparation
};

/// What these variants cost together for one image.
double cost_of(std::span<const VariantCost> costs, std::span<const int> variants);

/// Cuts everything that is not known into tiles, in the order of the looks at variants that may stop: first all images
/// of those that cannot, and what comes before the first look at the others, then what comes before their second look,
/// and so on; in each stage the dearest first. The first tiles are large, so that variants share what they can, the
/// last ones small, so that all ranks end at about the same time (guided self-scheduling: Polychronopoulos and Kuck,
/// IEEE Trans. Computers C-36(12), 1987). No tile is so large that a kill loses much.
/// threads: the most that a rank has.
std::vector<Tile> cut(std::span<const Demand> demands, int ranks, int threads);

/// What emulating a layer costs, about, in the unit of VariantCost. products: of one image in the layer.
double emulation_cost(const Accelerator& accelerator, double products);

/// In which order emulations had best be begun: one image after the other, because a rank has activations of one at a
/// time, and those of an image from the dearest on; but before all others those that cost more than `dear`.
/// costs, images (those without come first): of every emulation.
std::vector<std::size_t> emulation_order(std::span<const double> costs, std::span<const int> images, double dear);

/// Whether the scores of the first images make the others superfluous.
using StopTest = std::function<bool(std::span<const ImageScore> first)>;

/// Looks at variants that may stop, at whole blocks: after an eighth, a quarter and a half of all images. Blocks may
/// come in any order; what is found depends on their scores alone.
class Looks {
 public:
  /// stops: of every variant; those that may stop have one.
  Looks(std::vector<Extent> extents, std::vector<StopTest> stops, int images);

  /// The scores of one more block are there; scores: of all images of the variant.
  void arrive(int variant, int block, std::span<const ImageScore> scores);

  bool stopped(int variant) const { return images_[variant] < extents_[variant].images; }
  int images(int variant) const { return images_[variant]; }  //!< that count, from the first on

 private:
  std::vector<Extent> extents_;
  std::vector<StopTest> stops_;
  std::vector<int> ends_;                   //!< blocks before a look
  std::vector<std::vector<char>> arrived_;  //!< (variants, blocks)
  std::vector<int> whole_;                  //!< blocks that are there, from the first on
  std::vector<std::size_t> looks_;          //!< at every variant, so far
  std::vector<int> images_;
};

}  // namespace bitcluster
