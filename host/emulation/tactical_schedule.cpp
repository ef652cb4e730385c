#include "host/emulation/tactical_schedule.hpp"

#include <algorithm>
#include <bit>

namespace bitcluster {
namespace {

/// Moves the lanes of a mask around the ring of `lanes`.
struct Rotation {
  int right, left;  // right + left = lanes
  std::uint64_t all;

  Rotation(int aside, int lanes)
      : right((aside % lanes + lanes) % lanes),
        left(lanes - right),
        all(lanes == 64 ? ~std::uint64_t(0) : (std::uint64_t(1) << lanes) - 1) {}

  /// Bit l of the result is bit l + aside.
  std::uint64_t towards(std::uint64_t mask) const { return right == 0 ? mask : (mask >> right | mask << left) & all; }
};

/// How many of the masks have each lane, as bit slices; returns the lanes with the most, 0 if there are none.
std::uint64_t lanes_with_most(const std::uint64_t* masks, int count) {
  std::uint64_t ones = 0, twos = 0, fours = 0, eights = 0, sixteens = 0;  // a search map has at most 8 + 16 places
  for (int i = 0; i < count; ++i) {
    std::uint64_t carry = ones & masks[i], next = twos & carry;
    ones ^= masks[i];
    twos ^= carry;
    carry = fours & next;
    fours ^= next;
    next = eights & carry;
    eights ^= carry;
    sixteens ^= next;
  }
  std::uint64_t lanes = 0;
  for (const std::uint64_t slice : {sixteens, eights, fours, twos, ones}) {
    const std::uint64_t higher = lanes ? lanes & slice : slice;
    if (higher) lanes = higher;
  }
  return lanes;
}

}  // namespace

std::vector<Promotion> search_map(const Accelerator& accelerator) {
  std::vector<Promotion> map;
  if (accelerator.search_shape == SearchShape::t) {
    // the shape T of the authors' simulator, DNNsim, for lookahead 2 and lookaside 5
    map = {{1, -1}, {1, 0}, {1, 1}, {1, 3}, {2, -2}, {2, 0}, {2, 2}};
  } else {
    for (int d = accelerator.lookaside; d >= 1; --d) map.push_back({1, -d});
    for (int h = 1; h <= accelerator.lookahead; ++h) map.push_back({h, 0});
  }
  return map;
}

TacticalSchedule schedule_weights(const Accelerator& accelerator, int rows, int bricks,
                                  std::span<const std::uint64_t> nonzero, std::span<const std::uint64_t> present) {
  const std::vector<Promotion> map = search_map(accelerator);
  const int lanes = accelerator.lanes;
  std::vector<Rotation> rotations, back;
  for (const Promotion& place : map) {
    rotations.emplace_back(place.aside, lanes);
    back.emplace_back(-place.aside, lanes);
  }
  const std::uint64_t all = rotations[0].all;
  std::vector<std::uint64_t> candidates(map.size());
  TacticalSchedule schedule;
  schedule.sources.assign(std::size_t(rows) * bricks * lanes, TacticalSchedule::own);
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
      const std::size_t place = std::size_t(r) * bricks + brick;
      std::uint64_t* later = work.data() + place;  // by bricks ahead
      std::uint8_t* sources = schedule.sources.data() + place * lanes;
      std::uint64_t promoted = 0;
      if (later[0] != all) {
        for (std::size_t i = 0; i < map.size(); ++i) {
          candidates[i] = brick + map[i].ahead < bricks ? rotations[i].towards(later[map[i].ahead]) & ~later[0] : 0;
        }
        while (const std::uint64_t most = lanes_with_most(candidates.data(), int(map.size()))) {
          const std::uint64_t lane = most & -most;
          std::size_t found = 0;
          while (!(candidates[found] & lane)) ++found;
          const std::uint64_t source = back[found].towards(lane);
          later[map[found].ahead] &= ~source;
          later[0] |= lane;
          promoted |= lane;
          sources[std::countr_zero(lane)] = std::uint8_t(found + 1);
          for (std::size_t i = 0; i < map.size(); ++i) {
            candidates[i] &= ~lane;
            if (map[i].ahead == map[found].ahead) candidates[i] &= ~rotations[i].towards(source);
          }
        }
      }
      // A lane without work brings the activation of its own zero weight, unless that weight was done before.
      const std::uint64_t done_before = nonzero[place] & ~later[0];
      const std::uint64_t absent = ~present[place] & all & ~promoted;
      const bool brings_first = accelerator.peer == Peer::dnnsim && brick == 0 && absent;
      for (std::uint64_t idle = done_before | absent; idle; idle &= idle - 1) {
        const int lane = std::countr_zero(idle);
        sources[lane] = brings_first && (absent >> lane & 1) ? TacticalSchedule::first : TacticalSchedule::nothing;
      }
      if (promoted || done_before || brings_first) schedule.plain[place] = 0;
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
