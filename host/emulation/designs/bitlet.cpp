#include <algorithm>
#include <cstdlib>
#include <optional>

#include "host/emulation/design.hpp"
#include "host/emulation/designs/bit_columns.hpp"
#include "host/emulation/pending_terms.hpp"

namespace bitcluster {
namespace {

/// Bitlet (Lu et al., MICRO 2021; also BBS, MICRO 2024, section II-A): every significance takes one of the weights that
/// have its bit per cycle. BitSim takes two's complement of 8 bits.
DesignRule rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const bool bitsim = accelerator.peer == Peer::bitsim;
  const int significances = accelerator.significances;
  if (bitsim) {
    check_weight_bits(accelerator, layer, 8);
  } else {
    check_magnitudes(accelerator, layer, significances);
  }
  WeightRule rule;
  rule.operands = make_table([bitsim](int value) { return bitsim ? value & 0xff : std::abs(value); });
  rule.shortest_step = bitsim ? 0 : 1;
  const BitletBricks design{significances, rule.shortest_step};
  rule.design = design;
  rule.bricks = one_by_one([design](const std::uint16_t* weights, int lanes) {
    return design.cost(ones_by_position(weights, lanes, design.significances).data(), lanes);
  });
  return rule;
}

/// Every significance goes through the weights that have its bit, one per cycle.
int add_brick(int significances, const std::int16_t* weights, const std::int16_t* activations, int lanes,
              std::int64_t& sum) {
  int longest = 1;
  for (int position = 0; position < significances; ++position) {
    int cycles = 0;
    for (int l = 0; l < lanes; ++l) {
      if (!(std::abs(int(weights[l])) >> position & 1)) continue;
      sum += (weights[l] < 0 ? -1 : 1) * std::int64_t(activations[l]) * power_of_two(position);
      ++cycles;
    }
    longest = std::max(longest, cycles);
  }
  return longest;
}

BrickArithmetic arithmetic(const Accelerator& accelerator, const LayerTensors&) {
  return [significances = accelerator.significances](auto&&... brick) { return add_brick(significances, brick...); };
}

int slots(const Accelerator& accelerator) { return accelerator.significances; }

std::optional<AcceleratorFault> fault(const Accelerator& accelerator) {
  if (accelerator.peer == Peer::bitsim && accelerator.significances != 8) {
    return AcceleratorFault{"significances", "that peer takes weights of 8 bits", "set it to 8"};
  }
  return std::nullopt;
}

}  // namespace

extern constinit const DesignInfo bitlet_design = {
    .name = "bitlet",
    .keys = {"significances"},
    .dense_cycles = [](const Accelerator& accelerator) { return accelerator.lanes; },
    .slots = slots,
    .fault = fault,
    .rule = rule,
    .arithmetic = arithmetic};

}  // namespace bitcluster
