#include "host/weights/input_gram.hpp"

namespace bitcluster {

InputGram::InputGram(int groups, int inputs, int largest_block) : groups(groups), inputs(inputs) {
  const int blocks = (inputs + largest_block - 1) / largest_block;
  for (int block = 0; block <= blocks; ++block) {
    starts.push_back(int(std::int64_t(inputs) * block / blocks));
    if (block == 0) continue;
    offsets_.push_back(group_size_);
    const std::size_t size = std::size_t(block_size(block - 1));
    group_size_ += size * (size + 1) / 2;
  }
  products.resize(groups * group_size_);
  sums.resize(std::size_t(groups) * inputs);
}

}  // namespace bitcluster
