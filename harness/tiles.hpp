#pragma once

#include <cstddef>
#include <vector>

namespace bitcluster {

/// Some variants on a range of blocks.
struct Tile {
  std::vector<int> variants;
  int first_block, blocks;
  double cost;
};

/// Cuts what is not known of (variants x blocks) into tiles: enough of them to keep all ranks busy to the end, few
/// enough that the activations that variants share are computed rarely. The dearest come first.
std::vector<Tile> cut(const std::vector<double>& costs, int blocks, const std::vector<std::byte>& known, int ranks);

}  // namespace bitcluster
