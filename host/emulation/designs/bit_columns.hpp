#pragma once

// What the designs share that take the bits of a group of weights column by column.

#include <algorithm>
#include <array>
#include <cstdint>

#include "host/emulation/design.hpp"

namespace bitcluster {

/// A rule that looks at one brick at a time.
template <class Brick>
auto one_by_one(Brick&& brick) {
  return [brick](const BrickRun& run, BrickCost* costs) {
    for (int b = 0; b < run.count; ++b) costs[b] = brick(run.weights + b * run.stride, run.lanes);
  };
}

/// Every byte of an entry counts one position of the byte that is its index.
inline constexpr std::array<std::uint64_t, 256> spread_bits = [] {
  std::array<std::uint64_t, 256> table{};
  for (int byte = 0; byte < 256; ++byte) {
    for (int position = 0; position < 8; ++position) {
      table[byte] |= std::uint64_t(byte >> position & 1) << (8 * position);
    }
  }
  return table;
}();

/// How many of the weights have each bit, for the lowest `bits` bits.
inline std::array<int, 16> ones_by_position(const std::uint16_t* masks, int lanes, int bits) {
  std::array<int, 16> ones{};
  for (int first = 0; first < lanes; first += 255) {  // a byte counts to 255
    std::uint64_t low = 0, high = 0;
    const int last = std::min(lanes, first + 255);
    for (int l = first; l < last; ++l) low += spread_bits[masks[l] & 255];
    if (bits > 8) {
      for (int l = first; l < last; ++l) high += spread_bits[masks[l] >> 8];
    }
    for (int position = 0; position < bits; ++position) {
      ones[position] += int((position < 8 ? low : high) >> (8 * (position & 7)) & 255);
    }
  }
  return ones;
}

}  // namespace bitcluster
