#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace bitcluster {

/// Images whose scores are one record of the journal: few enough for a kill to lose little, enough for a record to be
/// long.
inline constexpr int block_images = 128;

/// What a variant costs, in any unit, per image.
struct VariantCost {
  double own = 0;     //!< of the layers that it computes itself
  double shared = 0;  //!< of the reference's layers that it needs; variants of one tile share them
  double tile = 0;    //!< per tile, not per image: preparing weights
};

/// Some variants on a range of images.
struct Tile {
  std::vector<int> variants;
  int first_image = 0, images = 0;
  double cost = 0;
};

/// What these variants cost together for one image.
double cost_of(std::span<const VariantCost> costs, std::span<const int> variants);

/// Cuts what is not known of (variants x blocks of images) into tiles, the dearest first. The first ones are large, so
/// that variants share what they can, the last ones small, so that all ranks end at about the same time (guided
/// self-scheduling: Polychronopoulos and Kuck, IEEE Trans. Computers C-36(12), 1987). No tile is so large that a kill
/// loses much.
std::vector<Tile> cut(std::span<const VariantCost> costs, int images, const std::vector<std::byte>& known, int ranks);

}  // namespace bitcluster
