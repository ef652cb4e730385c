#include <algorithm>
#include <numeric>

#include "host/emulation/design.hpp"
#include "host/emulation/designs/bit_columns.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/pending_terms.hpp"

namespace bitcluster {
namespace {

/// BitVert (Chen et al., BBS, MICRO 2024, sections III-A and IV-A): the bit columns of a group of weights in two's
/// complement. A column of more ones than zeros is inverted and corrected with the sum of the activations, so half as
/// many slots as lanes do; columns of one value take no time. Columns are not pruned here. BitSim does not invert.
DesignRule rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const bool invert = accelerator.peer != Peer::bitsim;
  const int bits = invert ? std::min(layer.weight_format.bits, 16) : 8;  // 16 hold any weight, also -2^15
  check_weight_bits(accelerator, layer, bits);
  WeightRule rule;
  rule.operands = make_table([bits](int value) { return value & ((1 << bits) - 1); });
  const BitvertBricks design{bits, invert, accelerator.lanes};
  rule.design = design;
  rule.bricks = one_by_one([design](const std::uint16_t* weights, int lanes) {
    return design.cost(ones_by_position(weights, lanes, design.bits).data(), lanes);
  });
  return rule;
}

/// Columns of two's complement bits; a column with more ones adds the zeros' activations and subtracts them from the
/// sum of all.
int add_brick(int bits, int array_lanes, const std::int16_t* weights, const std::int16_t* activations, int lanes,
              std::int64_t& sum) {
  const std::int64_t all = std::accumulate(activations, activations + lanes, std::int64_t(0));
  int cycles = 0;
  for (int position = 0; position < bits; ++position) {
    std::int64_t tree[2] = {0, 0};
    int count[2] = {0, 0};
    for (int l = 0; l < lanes; ++l) {
      const int bit = weights[l] >> position & 1;
      tree[bit] += activations[l];
      ++count[bit];
    }
    const bool inverted = count[1] > count[0];
    cycles += int(ceil_div(2 * std::min(count[0], count[1]), array_lanes));
    const std::int64_t column = inverted ? all - tree[0] : tree[1];
    sum += column * power_of_two(position) * (position == bits - 1 ? -1 : 1);
  }
  return std::max(cycles, 1);
}

BrickArithmetic arithmetic(const Accelerator& accelerator, const LayerTensors& layer) {
  return [bits = std::min(layer.weight_format.bits, 16), array_lanes = accelerator.lanes](auto&&... brick) {
    return add_brick(bits, array_lanes, brick...);
  };
}

/// One per pair of lanes.
int slots(const Accelerator& accelerator) { return (accelerator.lanes + 1) / 2; }

}  // namespace

extern constinit const DesignInfo bitvert_design = {.name = "bitvert",
                                                    .dense_cycles = dense_bits_of_one_operand,
                                                    .slots = slots,
                                                    .rule = rule,
                                                    .arithmetic = arithmetic};

}  // namespace bitcluster
