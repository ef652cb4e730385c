#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "host/inference/accuracy.hpp"

namespace bitcluster {

/// How many images a variant is scored on.
struct ScoreExtent {
  int images = 0;         //!< the first ones
  bool may_stop = false;  //!< after a part of them, if their scores say so
};

/// Whether the scores of the first images make the others superfluous.
using StopTest = std::function<bool(std::span<const ImageScore> first)>;

/// Blocks before every look at variants that may stop, and all of them.
std::vector<int> stage_ends(int blocks);

/// Looks at variants that may stop, at whole blocks: after an eighth, a quarter and a half of all images. Blocks may
/// come in any order; what is found depends on their scores alone.
class Looks {
 public:
  /// stops: of every variant; those that may stop have one.
  Looks(std::vector<ScoreExtent> extents, std::vector<StopTest> stops, int images);

  /// The scores of one more block are there; scores: of all images of the variant.
  void arrive(int variant, int block, std::span<const ImageScore> scores);

  bool stopped(int variant) const { return images_[variant] < extents_[variant].images; }
  int images(int variant) const { return images_[variant]; }  //!< that count, from the first on

 private:
  std::vector<ScoreExtent> extents_;
  std::vector<StopTest> stops_;
  std::vector<int> ends_;                   //!< blocks before a look
  std::vector<std::vector<char>> arrived_;  //!< (variants, blocks)
  std::vector<int> whole_;                  //!< blocks that are there, from the first on
  std::vector<std::size_t> looks_;          //!< at every variant, so far
  std::vector<int> images_;
};

}  // namespace bitcluster
