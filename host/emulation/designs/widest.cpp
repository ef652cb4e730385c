#include <algorithm>
#include <bit>

#include "host/emulation/design.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/pending_terms.hpp"
#include "host/emulation/vectorised.hpp"

namespace bitcluster {
namespace {

// Values as wide as the widest in flight

BITCLUSTER_VECTORISED
void widest_of_lanes(const std::uint16_t* const* lanes, int count, std::uint16_t* cycles) {
  std::uint16_t widest[operand_padding] = {};
  for (int l = 0; l < count; ++l) {
    const std::uint16_t* lane = lanes[l];
    for (int c = 0; c < operand_padding; ++c) widest[c] = std::max(widest[c], lane[c]);
  }
  std::copy_n(widest, operand_padding, cycles);
}

/// Dynamic Stripes (Delmas et al., arXiv:1706.00504): activations bit by bit, as many cycles as the widest
/// activation that the columns work on. In lockstep the size of the column groups does not matter.
DesignRule dynamic_stripes_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  check_signs(accelerator, layer);
  const OperandTable widths = make_table([&](int value) { return width_of(value, layer.activations_signed); });
  return ActivationRule{widths, widths, term_counts(Encoding::binary), {}, widest_of_lanes, 0};
}

int loom_weight_bits(const Accelerator& accelerator, const LayerTensors& layer) {
  return accelerator.weight_bits ? accelerator.weight_bits : layer.weight_format.bits;
}

/// Loom (Sharify et al., DAC 2018): every pair of an activation's bits (bits_per_cycle at a time, as many as
/// the widest in flight has) and a weight's bits (as many as the layer's weights have).
DesignRule loom_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const int weight_bits = loom_weight_bits(accelerator, layer);
  const int at_once = accelerator.bits_per_cycle;
  check_signs(accelerator, layer);
  const bool looks = accelerator.peer == Peer::none;  // peers do not look at the weights
  if (looks && weight_bits < layer.weight_format.bits) check_weight_bits(accelerator, layer, weight_bits);
  ActivationRule rule;
  rule.operands =
      make_table([&](int value) { return ceil_div(width_of(value, layer.activations_signed), at_once) * weight_bits; });
  rule.busy = rule.operands;
  rule.useful = make_table([&](int value) {
    int digits = 0;
    for (std::uint32_t left = magnitude_of(value); left; left >>= at_once)
      digits += (left & ((1u << at_once) - 1)) != 0;
    return digits;
  });
  rule.weight_terms = make_table([&](int value) { return std::min(weight_bits, std::popcount(magnitude_of(value))); });
  rule.columns = widest_of_lanes;
  return rule;
}

/// Digits of the activations in two's complement, as many as the widest needs; Loom (weight bits above 0) meets every
/// digit with every bit of the weights.
int add_brick(bool is_signed, int bits_per_digit, int weight_bits, const std::int16_t* weights,
              const std::int16_t* activations, int lanes, std::int64_t& sum) {
  int width = 1;
  for (int l = 0; l < lanes; ++l) width = std::max(width, width_of(activations[l], is_signed));
  const int digits = int(ceil_div(width, bits_per_digit));
  int cycles = 0;
  for (int digit = 0; digit < digits; ++digit) {
    // the highest digit carries the sign
    const auto value = [&](int l) {
      const int shifted = activations[l] >> (digit * bits_per_digit);
      return digit == digits - 1 ? shifted : shifted & ((1 << bits_per_digit) - 1);
    };
    for (int bit = 0; bit < std::max(1, weight_bits); ++bit, ++cycles) {
      std::int64_t tree = 0;
      for (int l = 0; l < lanes; ++l) {
        if (weight_bits == 0) {
          tree += std::int64_t(value(l)) * weights[l];
        } else if (weights[l] >> bit & 1) {
          tree += value(l);
        }
      }
      const bool sign_bit = weight_bits > 0 && bit == weight_bits - 1;
      sum += tree * power_of_two(digit * bits_per_digit + (weight_bits > 0 ? bit : 0)) * (sign_bit ? -1 : 1);
    }
  }
  return cycles;
}

BrickArithmetic dynamic_stripes_arithmetic(const Accelerator&, const LayerTensors& layer) {
  return [is_signed = layer.activations_signed](auto&&... brick) { return add_brick(is_signed, 1, 0, brick...); };
}

BrickArithmetic loom_arithmetic(const Accelerator& accelerator, const LayerTensors& layer) {
  return [is_signed = layer.activations_signed, at_once = accelerator.bits_per_cycle,
          bits = loom_weight_bits(accelerator, layer)](auto&&... brick) {
    return add_brick(is_signed, at_once, bits, brick...);
  };
}

int loom_dense_cycles(const Accelerator& accelerator) {
  const int weight_bits = accelerator.weight_bits ? accelerator.weight_bits : 8;
  return (8 + accelerator.bits_per_cycle - 1) / accelerator.bits_per_cycle * weight_bits;
}

}  // namespace

extern constinit const DesignInfo dynamic_stripes_design = {.name = "dynamic_stripes",
                                                            .keys = {"column_registers"},
                                                            .activations = ActivationUse::cycles,
                                                            .dense_cycles = dense_bits_of_one_operand,
                                                            .rule = dynamic_stripes_rule,
                                                            .arithmetic = dynamic_stripes_arithmetic};

extern constinit const DesignInfo loom_design = {.name = "loom",
                                                 .keys = {"bits_per_cycle", "weight_bits"},
                                                 .activations = ActivationUse::cycles,
                                                 .dense_cycles = loom_dense_cycles,
                                                 .rule = loom_rule,
                                                 .arithmetic = loom_arithmetic};

}  // namespace bitcluster
