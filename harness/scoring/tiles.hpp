#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "harness/scoring/cost.hpp"
#include "harness/scoring/early_stop.hpp"
#include "host/emulation/accelerator.hpp"

namespace bitcluster {

/// What has to be scored of one network.
struct Demand {
  std::vector<VariantCost> costs;    //!< of every variant
  std::vector<ScoreExtent> extents;  //!< of every variant
  int images = 0;                    //!< of the whole set
  std::vector<std::byte> known;      //!< (variants, blocks of images): 1 where the scores are there already
};

/// Some variants of one demand on a range of its images.
struct Tile {
  int demand = 0;
  std::vector<int> variants;
  int first_image = 0, images = 0;
  double cost = 0;
  int kind = 0;  //!< that all tiles of the same variants have in common; -1: they need no preparation
};

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

}  // namespace bitcluster
