#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bitcluster {

/// Inputs of a filter whose products with each other are kept at most: those of a 3 x 3 convolution of 512 channels,
/// the widest of the usual networks. What has more (25,088 of VGG-16's first fully connected layer) is cut into blocks.
constexpr int largest_gram_block = 4608;

/// Gram matrices X X^T of the integer inputs of one layer, a column of X for every output position of every image that
/// was seen: the inputs of a filter as its weights have them, (channels / groups, kernel_h, kernel_w), padding
/// included. Sums of integers, so that parts of the images add up to the whole in any order.
struct InputGram {
  int groups = 0;
  int inputs = 0;              //!< of a filter
  std::vector<int> starts;     //!< (blocks + 1) first input of every block; blocks of a group are taken as unrelated
  std::int64_t positions = 0;  //!< columns of X
  std::vector<std::int64_t> products;  //!< (groups, blocks, lower triangle by rows)
  std::vector<std::int64_t> sums;      //!< (groups, inputs): of every row of X

  InputGram() = default;
  InputGram(int groups, int inputs, int largest_block = largest_gram_block);

  int blocks() const { return int(starts.size()) - 1; }
  int block_size(int block) const { return starts[block + 1] - starts[block]; }
  /// Where the triangle of a block begins in `products`.
  std::size_t triangle(int group, int block) const { return group * group_size_ + offsets_[block]; }

 private:
  std::vector<std::size_t> offsets_;  // of the blocks' triangles in those of a group
  std::size_t group_size_ = 0;
};

}  // namespace bitcluster
