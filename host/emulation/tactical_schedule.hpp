#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "host/emulation/mapping.hpp"

namespace bitcluster {

/// Where the weight that fills a lane may come from: so many bricks later, so many lanes aside.
struct Promotion {
  int ahead, aside;
};

/// The places where Bit-Tactical looks, in the order in which it prefers them.
std::vector<Promotion> search_map(const Accelerator& accelerator);

/// Bit-Tactical's static schedule of the filters of one tile (Delmas Lascorz et al., ASPLOS 2019): bricks of zeros are
/// left out and lanes of zeros do weights of later bricks. Lane sets are masks, so at most 64 lanes.
struct TacticalSchedule {
  static constexpr std::uint8_t own = 0;        //!< the lane does its own weight; i: that of search_map()[i - 1]
  static constexpr std::uint8_t nothing = 255;  //!< no weight was there, or it was done before
  static constexpr std::uint8_t first = 254;    //!< the activation of lane 0 of brick 0, without a weight (DNNsim)

  std::vector<int> kept;              //!< bricks that take a step, in the order of time
  std::vector<std::uint8_t> sources;  //!< (rows, bricks, lanes)
  std::vector<std::uint8_t> plain;    //!< (rows, bricks): 1 if every lane that holds a weight does its own
};

/// nonzero, present: (rows, bricks), the lanes with a nonzero weight and with any weight. A weight is promoted into the
/// lane, of those without work, with the most candidates, the lowest such lane first. A brick is left out if none of
/// its rows has work, but at most `lookahead` bricks in a row.
TacticalSchedule schedule_weights(const Accelerator& accelerator, int rows, int bricks,
                                  std::span<const std::uint64_t> nonzero, std::span<const std::uint64_t> present);

/// The schedule of the filters [first_filter, first_filter + rows), counted over all groups, with its masks.
struct TileSchedule {
  std::vector<std::uint64_t> nonzero, present;  //!< (rows, bricks)
  TacticalSchedule schedule;

  TileSchedule(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer, int first_filter,
               int rows);
};

}  // namespace bitcluster
