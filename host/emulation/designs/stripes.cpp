#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstdlib>

#include "host/emulation/design.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/pending_terms.hpp"

namespace bitcluster {
namespace {

int precision_of(const Accelerator& accelerator, const LayerTensors& layer) {
  return accelerator.precision ? accelerator.precision : layer.activation_bits;
}

/// Stripes (Judd et al., MICRO 2016).
DesignRule rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const int bits = precision_of(accelerator, layer);
  if (layer.activations.empty()) {
    return FixedRule{bits, bits * std::int64_t(layer.weights.size()) * pixels_of(layer.geometry)};
  }
  if (accelerator.peer != Peer::none) {  // peers do not look at the values
    const OperandTable ones =
        make_table([bits](int value) { return std::min(bits, std::popcount(magnitude_of(value))); });
    return FixedRule{bits, operand_products(layer, ones, {})};
  }
  for (const std::int16_t value : layer.activations) {
    if (magnitude_of(value) >> bits) {
      reject_layer(accelerator, layer, fmt::format("activation {} has more than {} bits", value, bits),
                   "raise the activation precision");
    }
  }
  return FixedRule{bits, operand_products(layer, term_counts(Encoding::binary), {})};
}

/// A bit of every magnitude per cycle.
int add_brick(int bits, const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum) {
  for (int bit = 0; bit < bits; ++bit) {
    std::int64_t tree = 0;
    for (int l = 0; l < lanes; ++l) {
      if (std::abs(int(activations[l])) >> bit & 1) tree += activations[l] < 0 ? -weights[l] : weights[l];
    }
    sum += tree * power_of_two(bit);
  }
  return bits;
}

BrickArithmetic arithmetic(const Accelerator& accelerator, const LayerTensors& layer) {
  return [bits = precision_of(accelerator, layer)](auto&&... brick) { return add_brick(bits, brick...); };
}

}  // namespace

extern constinit const DesignInfo stripes_design = {
    .name = "stripes",
    .keys = {"precision"},
    .activations = ActivationUse::useful_slots,
    .dense_cycles = [](const Accelerator& accelerator) { return accelerator.precision ? accelerator.precision : 8; },
    .rule = rule,
    .arithmetic = arithmetic};

}  // namespace bitcluster
