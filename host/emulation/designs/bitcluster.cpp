#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/pending_terms.hpp"

namespace bitcluster {
namespace {

/// BitCluster (Li et al., TCAD 2022): N terms of every weight.
DesignRule rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const int terms = layer.weight_format.terms;
  if (terms < 1) {
    reject_layer(accelerator, layer, "its weights have no fixed number of terms",
                 "quantize them to BitCluster(N) with N of 1 or more");
  }
  // Magnitudes beyond the format, which lie side by side in the table, have more terms than any N.
  OperandTable counts = term_counts(layer.weight_format.encoding);
  constexpr int misfit = 0xffff, table_size = 1 << 16;
  for (int i = 1 << (layer.weight_format.bits - 1); i <= table_size - (1 << (layer.weight_format.bits - 1)); ++i) {
    counts[i] = misfit;
  }
  std::int64_t effectual = 0;
  for (const std::int16_t weight : layer.weights) {
    const int count = operand(counts, weight);
    if (count > terms) {
      if (count == misfit) check_magnitudes(accelerator, layer, layer.weight_format.bits - 1);
      reject_layer(accelerator, layer, fmt::format("weight {} has {} terms where N is {}", weight, count, terms),
                   "quantize the weights to BitCluster(N) in the encoding of their format");
    }
    effectual += count;
  }
  return FixedRule{terms, effectual * pixels_of(layer.geometry)};
}

/// One term of every weight per cycle, N cycles whatever the weights are.
int add_brick(const WeightFormat& format, const std::int16_t* weights, const std::int16_t* activations, int lanes,
              std::int64_t& sum) {
  std::vector<PendingTerms> pending = pending_terms(format.encoding, weights, lanes);
  for (int cycle = 0; cycle < format.terms; ++cycle) {
    std::int64_t tree = 0;
    for (int l = 0; l < lanes; ++l) {
      const std::uint32_t term = pending[l].lowest();
      if (!term) continue;  // null term
      tree += pending[l].take(term) * activations[l] * power_of_two(std::countr_zero(term));
    }
    sum += tree;
  }
  return format.terms;
}

BrickArithmetic arithmetic(const Accelerator&, const LayerTensors& layer) {
  return [format = layer.weight_format](auto&&... brick) { return add_brick(format, brick...); };
}

/// N fields per weight, each the code of a position or of "null term". Binary: bits - 1 positions and one sign per
/// weight. Signed digits: one position more, and a sign in each field. Our assumption: plain sign-magnitude where that
/// is shorter (the terms are then found while the array is loaded).
double weight_bits(const Accelerator&, const LayerTensors& layer) {
  const WeightFormat& format = layer.weight_format;
  const auto field = [](int codes) { return std::bit_width(unsigned(codes - 1)); };
  const int encoded = format.encoding == Encoding::binary ? 1 + format.terms * field(format.bits - 1 + 1)
                                                          : format.terms * field(2 * format.bits + 1);
  return std::min(format.bits, encoded);
}

}  // namespace

// weights are never in the recoding of a peer
extern constinit const DesignInfo bitcluster_design = {.name = "bitcluster",
                                                       .keys = {"encoding"},
                                                       .limits = {{"encoding", double(Encoding::signed_digit)}},
                                                       .dense_cycles = dense_bits_of_one_operand,
                                                       .rule = rule,
                                                       .weight_bits = weight_bits,
                                                       .arithmetic = arithmetic};

}  // namespace bitcluster
