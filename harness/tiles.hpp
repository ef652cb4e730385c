#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "host/evaluation.hpp"

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

/// How many images a variant is scored on.
struct Extent {
  int images = 0;         //!< the first ones
  bool may_stop = false;  //!< after a part of them, if their scores say so
};

/// Whether the scores of the first images make the others superfluous.
using StopTest = std::function<bool(std::span<const ImageScore> first)>;

/// Tiles in the order of the looks at variants that may stop: first all images of those that cannot, and what comes
/// before the first look at the others, then what comes before their second look, and so on. extents: of every
/// variant.
std::vector<Tile> cut_in_stages(std::span<const VariantCost> costs, std::span<const Extent> extents, int images,
                                const std::vector<std::byte>& known, int ranks);

/// Looks at variants that may stop, at whole blocks: after an eighth, a quarter and a half of all images. Blocks may
/// come in any order; what is found depends on their scores alone.
class Looks {
 public:
  Looks(std::vector<Extent> extents, StopTest stop, int images);

  /// The scores of one more block are there; scores: of all images of the variant.
  void arrive(int variant, int block, std::span<const ImageScore> scores);

  bool stopped(int variant) const { return images_[variant] < extents_[variant].images; }
  int images(int variant) const { return images_[variant]; }  //!< that count, from the first on

 private:
  std::vector<Extent> extents_;
  StopTest stop_;
  std::vector<int> ends_;                   //!< blocks before a look
  std::vector<std::vector<char>> arrived_;  //!< (variants, blocks)
  std::vector<int> whole_;                  //!< blocks that are there, from the first on
  std::vector<std::size_t> looks_;          //!< at every variant, so far
  std::vector<int> images_;
};

}  // namespace bitcluster
