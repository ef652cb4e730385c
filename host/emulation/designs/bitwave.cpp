#include <algorithm>
#include <cstdlib>

#include "host/emulation/design.hpp"
#include "host/emulation/designs/bit_columns.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/pending_terms.hpp"
#include "host/emulation/vectorised.hpp"

namespace bitcluster {
namespace {

/// The bits that any weight of a brick has, and the ones of their magnitudes.
struct BrickBits {
  std::uint16_t any = 0, ones = 0;
};
BITCLUSTER_VECTORISED
BrickBits bits_of_brick(const std::uint16_t* weights, int lanes, std::uint16_t sign) {
  BrickBits bits;
  for (int l = 0; l < round_up(lanes, operand_padding); ++l) {
    bits.any = std::uint16_t(bits.any | weights[l]);
    bits.ones = std::uint16_t(bits.ones + ones_of(std::uint16_t(weights[l] & ~sign)));
  }
  return bits;
}

/// BitWave (Shi et al., HPCA 2024): the nonzero bit columns of a group's magnitudes, one per cycle; signs
/// come with the group. In memory a group is an index of its columns (one bit each) and those that are not zero. BitSim
/// counts the column of signs as well, and always takes one cycle off.
DesignRule rule(const Accelerator& accelerator, const LayerTensors& layer) {
  WeightRule rule;
  if (accelerator.peer == Peer::bitsim) {
    check_weight_bits(accelerator, layer, 8);
    rule.operands = make_table([](int value) { return std::min(std::abs(value), 127) | (value < 0 ? 128 : 0); });
    rule.shortest_step = -1;
  } else {
    // a magnitude of 16 bits would collide with the sign
    check_magnitudes(accelerator, layer, std::min(layer.weight_format.bits - 1, 15));
    rule.operands = make_table([](int value) { return std::abs(value) | (value < 0 ? 1 << 15 : 0); });
  }
  const bool bitsim = accelerator.peer == Peer::bitsim;
  const BitwaveBricks design{std::uint16_t(bitsim ? 0x80 : 0x8000), layer.weight_format.bits, bitsim};
  rule.design = design;
  rule.bricks = one_by_one([design](const std::uint16_t* weights, int lanes) {
    const auto [any, ones] = bits_of_brick(weights, lanes, design.sign);
    return design.cost(any, ones, lanes);
  });
  return rule;
}

/// One nonzero column of magnitude bits per cycle.
int add_brick(const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum) {
  int cycles = 0;
  for (int position = 0; position < 16; ++position) {
    std::int64_t tree = 0;
    bool any = false;
    for (int l = 0; l < lanes; ++l) {
      if (!(std::abs(int(weights[l])) >> position & 1)) continue;
      any = true;
      tree += weights[l] < 0 ? -activations[l] : activations[l];
    }
    cycles += any;
    sum += tree * power_of_two(position);
  }
  return std::max(cycles, 1);
}

BrickArithmetic arithmetic(const Accelerator&, const LayerTensors&) { return add_brick; }

}  // namespace

extern constinit const DesignInfo bitwave_design = {
    .name = "bitwave", .dense_cycles = dense_bits_of_one_operand, .rule = rule, .arithmetic = arithmetic};

}  // namespace bitcluster
