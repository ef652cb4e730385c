#pragma once

#include <cstdint>
#include <variant>

#include "host/weights/terms.hpp"

namespace bitcluster {

// What a brick of weights takes in the designs that are serial on weights, by the bits that it has: their parameters
// and sources are in designs/. How the bits are found is up to the loops of the CPU and of the GPU.

/// What one brick takes in the processing elements that work on it, if they need not wait for others.
struct BrickCost {
  int cycles = 1;
  int useful = 0;     //!< slots
  int null_term = 0;  //!< slots; the rest of slots x cycles waits for another lane
  int bits = 0;       //!< of the brick in memory, for a design that compresses weights
};

struct PragmaticBricks {
  std::uint16_t reach = 1;  //!< first_stage_reach()
  int shortest = 1;         //!< cycles of a brick of zeros

  BITCLUSTER_HOST_DEVICE int slots(int lanes) const { return lanes; }
  /// cycles: 0 without any term; terms: of all lanes.
  BITCLUSTER_HOST_DEVICE BrickCost cost(int cycles, int terms, int lanes) const {
    return cycles ? BrickCost{cycles, terms} : BrickCost{shortest, 0, shortest * lanes};
  }
};

struct BitletBricks {
  int significances = 8;
  int shortest = 1;  //!< cycles of a brick of zeros

  BITCLUSTER_HOST_DEVICE int slots(int) const { return significances; }
  /// ones: how many weights have each of 16 bits.
  BITCLUSTER_HOST_DEVICE BrickCost cost(const int* ones, int) const {
    BrickCost cost{0};
    for (int position = 0; position < 16 && position < significances; ++position) {
      cost.cycles = ones[position] > cost.cycles ? ones[position] : cost.cycles;
      cost.useful += ones[position];
    }
    return cost.cycles < shortest ? BrickCost{shortest, 0, shortest * significances} : cost;
  }
};

struct BitwaveBricks {
  std::uint16_t sign = 0x8000;  //!< position of the sign
  int columns = 8;              //!< bits of a weight in memory
  bool counts_sign = false;     //!< BitSim: the column of signs takes a cycle, and one cycle is always taken off

  BITCLUSTER_HOST_DEVICE int slots(int lanes) const { return lanes; }
  /// any: the bits that any weight has; ones: of all magnitudes.
  BITCLUSTER_HOST_DEVICE BrickCost cost(std::uint16_t any, int ones, int lanes) const {
    const int filled = count_ones(any), magnitudes = count_ones(any & ~sign);
    BrickCost cost;
    cost.cycles = counts_sign ? filled - 1 : magnitudes > 1 ? magnitudes : 1;
    cost.useful = ones;
    cost.null_term = cost.cycles * lanes - ones;
    cost.bits = columns + filled * lanes;
    return cost;
  }
};

struct BitvertBricks {
  int bits = 8;         //!< of a weight in two's complement
  bool invert = true;   //!< columns of more ones than zeros
  int array_lanes = 2;  //!< two of them share a slot

  BITCLUSTER_HOST_DEVICE int slots(int lanes) const {
    const int of_array = (array_lanes + 1) / 2;
    return lanes < of_array ? lanes : of_array;
  }
  /// ones: how many weights have each of 16 bits.
  BITCLUSTER_HOST_DEVICE BrickCost cost(const int* ones, int lanes) const {
    BrickCost cost{0};
    for (int position = 0; position < 16 && position < bits; ++position) {
      const int zeros = lanes - ones[position];
      const int added = invert && zeros < ones[position] ? zeros : ones[position];
      cost.cycles += (2 * added + array_lanes - 1) / array_lanes;
      cost.useful += added;
    }
    return cost.cycles == 0 ? BrickCost{1, 0, slots(lanes)} : cost;
  }
};

using BrickRule = std::variant<PragmaticBricks, BitletBricks, BitwaveBricks, BitvertBricks>;

}  // namespace bitcluster
