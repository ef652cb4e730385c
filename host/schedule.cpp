#include "host/schedule.hpp"

#include <algorithm>
#include <bit>

namespace bitcluster {
namespace {

/// Bit l of the result is bit (l + by) mod lanes of the mask.
std::uint64_t rotated(std::uint64_t mask, int by, int lanes) {
  const int shift = ((by % lanes) + lanes) % lanes;
  if (shift == 0) return mask;
  const std::uint64_t all = lanes == 64 ? ~std::uint64_t(0) : (std::uint64_t(1) << lanes) - 1;
  return (mask >> shift | mask << (lanes - shift)) & all;
}

/// Of the lanes counted by the bit slices, those with the highest count; 0 if all counts are zero.
std::uint64_t lanes_with_most(const std::uint64_t* slices, int count) {
  std::uint64_t lanes = 0;
  for (int i = count - 1; i >= 0; --i) {
    const std::uint64_t higher = lanes ? lanes & slices[i] : slices[i];
    if (higher) lanes = higher;
  }
  return lanes;
}

}  // namespace

std::vector<Promotion> search_map(const Accelerator& accelerator) {
  std::vector<Promotion> map;
  if (accelerator.search_shape == SearchShape::t) {
    // ASPLOS 2019, figure 7: the sparse shape T8<2,5>
    map = {{1, -1}, {1, 0}, {1, 1}, {1, 3}, {2, -2}, {2, 0}, {2, 2}};
  } else {
    for (int d = accelerator.lookaside; d >= 1; --d) map.push_back({1, -d});
    for (int h = 1; h <= accelerator.lookahead; ++h) map.push_back({h, 0});
  }
  return map;
}

Schedule schedule_weights(const Accelerator& accelerator, int rows, int bricks, std::span<const std::uint64_t> nonzero,
                          std::span<const std::uint64_t> present) {
  const std::vector<Promotion> map = search_map(accelerator);
  const int lanes = accelerator.lanes;
  const std::uint64_t all = lanes == 64 ? ~std::uint64_t(0) : (std::uint64_t(1) << lanes) - 1;
  Schedule schedule;
  schedule.sources.assign(std::size_t(rows) * bricks * lanes, Schedule::own);
  schedule.plain.assign(std::size_t(rows) * bricks, 1);
  std::vector<std::uint64_t> work(nonzero.begin(), nonzero.end());  // weights not done yet
  int left_out = 0;
  for (int brick = 0; brick < bricks; ++brick) {
    bool any = false;
    for (int r = 0; r < rows && !any; ++r) any = work[std::size_t(r) * bricks + brick] != 0;
    if (!any && left_out < accelerator.lookahead) {
      ++left_out;
      continue;
    }
    left_out = 0;
    schedule.kept.push_back(brick);
    for (int r = 0; r < rows; ++r) {
      const std::size_t row = std::size_t(r) * bricks;
      std::uint64_t& here = work[row + brick];
      std::uint64_t promoted = 0;
      std::uint8_t* sources = schedule.sources.data() + (row + brick) * lanes;
      while (here != all) {
        std::uint64_t slices[5] = {};  // number of candidates of each lane, at most 8 + 16
        for (const Promotion& place : map) {
          if (brick + place.ahead >= bricks) continue;
          std::uint64_t carry = rotated(work[row + brick + place.ahead], place.aside, lanes) & ~here;
          for (int i = 0; carry; ++i) {
            const std::uint64_t next = slices[i] & carry;
            slices[i] ^= carry;
            carry = next;
          }
        }
        const std::uint64_t most = lanes_with_most(slices, 5);
        if (!most) break;
        const int lane = std::countr_zero(most);
        for (std::size_t i = 0; i < map.size(); ++i) {
          if (brick + map[i].ahead >= bricks) continue;
          std::uint64_t& later = work[row + brick + map[i].ahead];
          const std::uint64_t source = std::uint64_t(1) << (((lane + map[i].aside) % lanes + lanes) % lanes);
          if (!(later & source)) continue;
          later &= ~source;
          here |= std::uint64_t(1) << lane;
          promoted |= std::uint64_t(1) << lane;
          sources[lane] = std::uint8_t(i + 1);
          break;
        }
      }
      // A lane without work brings the activation of its own zero weight, unless that weight was done before.
      const std::uint64_t done_before = nonzero[row + brick] & ~here;
      const std::uint64_t absent = ~present[row + brick] & all & ~promoted;
      for (std::uint64_t idle = done_before | absent; idle; idle &= idle - 1) {
        const int lane = std::countr_zero(idle);
        const bool brings_first = accelerator.peer == Peer::dnnsim && brick == 0 && (absent >> lane & 1);
        sources[lane] = brings_first ? Schedule::first : Schedule::nothing;
        if (brings_first) schedule.plain[row + brick] = 0;
      }
      if (promoted || done_before) schedule.plain[row + brick] = 0;
    }
  }
  return schedule;
}

TileSchedule::TileSchedule(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                           int first_filter, int rows) {
  const int bricks = mapping.bricks(), taps = mapping.taps;
  nonzero.assign(std::size_t(rows) * bricks, 0);
  present = nonzero;
  for (int r = 0; r < rows; ++r) {
    const std::int16_t* weights = layer.weights.data() + (std::int64_t(first_filter) + r) * mapping.channels * taps;
    for (int brick = 0; brick < bricks; ++brick) {
      const std::size_t place = std::size_t(r) * bricks + brick;
      if (mapping.depthwise) {
        nonzero[place] = std::uint64_t(weights[brick] != 0) << r;
        present[place] = std::uint64_t(1) << r;
        continue;
      }
      const int lanes = mapping.lanes_of(brick);
      const std::int16_t* weight =
          weights + std::int64_t(brick % mapping.chunks()) * mapping.lanes * taps + mapping.tap_of(brick);
      std::uint64_t mask = 0;
      for (int l = 0; l < lanes; ++l) mask |= std::uint64_t(weight[std::int64_t(l) * taps] != 0) << l;
      nonzero[place] = mask;
      present[place] = lanes == 64 ? ~std::uint64_t(0) : (std::uint64_t(1) << lanes) - 1;
    }
  }
  schedule = schedule_weights(accelerator, rows, bricks, nonzero, present);
}

}  // namespace bitcluster
