#include "host/designs.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <string>

#include "host/error.hpp"

// The hot loops are plain loops; on x86 the compiler also makes a version for AVX2 and picks one at run time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BITCLUSTER_VECTORISED __attribute__((target_clones("default", "avx2")))
#else
#define BITCLUSTER_VECTORISED
#endif

namespace bitcluster {

Terms terms_of(Encoding encoding, std::uint32_t magnitude) {
  if (encoding == Encoding::binary) return {magnitude, 0};
  // Non-adjacent form (Reitwiesner 1960): the digits of 3m minus those of m, at half the weight.
  const std::uint32_t triple = 3 * magnitude;
  return {(triple & ~magnitude) >> 1, (~triple & magnitude) >> 1};
}

namespace {

constexpr int magnitudes = 32769;  // of int16, -32768 included

std::uint32_t magnitude_of(std::int16_t value) { return std::uint32_t(std::abs(int(value))); }

OperandTable position_masks(Encoding encoding) {
  OperandTable table(magnitudes);
  for (int m = 0; m < magnitudes; ++m) table[m] = std::uint16_t(terms_of(encoding, std::uint32_t(m)).positions());
  return table;
}

OperandTable term_counts(Encoding encoding) {
  OperandTable table = position_masks(encoding);
  for (std::uint16_t& entry : table) entry = std::uint16_t(std::popcount(entry));
  return table;
}

std::int64_t pixels_of(const LayerGeometry& geometry) {
  return geometry.fully_connected ? 1 : std::int64_t(geometry.output.height) * geometry.output.width;
}

std::int64_t products_of(const LayerTensors& layer) {
  return std::int64_t(layer.weights.size()) * pixels_of(layer.geometry);
}

// ---------------------------------------------------------------- DaDianNao: one product per lane and cycle
FixedRule bit_parallel_rule(const LayerTensors& layer) { return {1, products_of(layer)}; }

// ---------------------------------------------------------------- Stripes: one activation bit per lane and cycle

/// How often the kernel meets each input position along one axis.
std::vector<std::int64_t> uses(int input, int output, int kernel, int stride, int dilation, int pad) {
  std::vector<std::int64_t> counts(std::size_t(input), 0);
  for (int o = 0; o < output; ++o) {
    for (int k = 0; k < kernel; ++k) {
      const int position = o * stride + k * dilation - pad;
      if (position >= 0 && position < input) ++counts[position];
    }
  }
  return counts;
}

FixedRule stripes_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const LayerGeometry& geometry = layer.geometry;
  const int bits = accelerator.precision ? accelerator.precision : layer.activation_bits;
  if (layer.activations.empty()) return {bits, bits * products_of(layer)};
  const Window& window = geometry.window;
  const auto row_uses = uses(geometry.input.height, geometry.output.height, window.kernel_h, window.stride_h,
                             window.dilation_h, window.pad_top);
  const auto column_uses = uses(geometry.input.width, geometry.output.width, window.kernel_w, window.stride_w,
                                window.dilation_w, window.pad_left);
  std::int64_t useful = 0;
  const std::int16_t* value = layer.activations.data();
  for (int c = 0; c < geometry.input.channels; ++c) {
    for (int y = 0; y < geometry.input.height; ++y) {
      std::int64_t row = 0;
      for (int x = 0; x < geometry.input.width; ++x, ++value) {
        const std::uint32_t magnitude = magnitude_of(*value);
        if (magnitude >> bits) {
          throw Error("layer '" + geometry.name + "' cannot run on " + accelerator.name,
                      "activation " + std::to_string(*value) + " has more than " + std::to_string(bits) + " bits",
                      "raise the activation precision");
        }
        row += column_uses[x] * std::popcount(magnitude);
      }
      useful += row_uses[y] * row;
    }
  }
  return {bits, useful * (geometry.filters / geometry.groups)};
}

// ---------------------------------------------------------------- Pragmatic, serial on weights

/// Bits that a lane reaches in one cycle when the lowest pending position of all lanes is 0.
std::uint32_t reach(int first_stage_shift) { return (1u << (1 << first_stage_shift)) - 1; }

BITCLUSTER_VECTORISED
BrickCost pragmatic_brick(const std::uint16_t* masks, int lanes, std::uint32_t lane_reach) {
  thread_local std::vector<std::uint16_t> pending_lanes;
  const int padded = (lanes + operand_padding - 1) / operand_padding * operand_padding;
  pending_lanes.assign(masks, masks + padded);
  std::uint16_t* pending = pending_lanes.data();
  BrickCost cost;
  cost.cycles = 0;
  for (;;) {
    std::uint16_t any = 0;
    for (int l = 0; l < padded; ++l) any |= pending[l];
    if (!any) break;
    const std::uint16_t window = std::uint16_t(lane_reach << std::countr_zero(any));
    std::int16_t dropped = 0;
    for (int l = 0; l < padded; ++l) {
      const std::uint16_t drop = std::uint16_t(pending[l] & -pending[l] & window);
      pending[l] = std::uint16_t(pending[l] ^ drop);
      dropped = std::int16_t(dropped + (drop != 0));
    }
    cost.useful += dropped;
    ++cost.cycles;
  }
  if (cost.cycles == 0) return {1, 0, lanes};
  return cost;
}

WeightRule pragmatic_weights_rule(const Accelerator& accelerator) {
  return {position_masks(accelerator.encoding),
          [lane_reach = reach(accelerator.first_stage_shift)](const std::uint16_t* weights, int lanes) {
            return pragmatic_brick(weights, lanes, lane_reach);
          }};
}

int pragmatic_arithmetic(Encoding encoding, int first_stage_shift, const std::int16_t* weights,
                         const std::int16_t* activations, int lanes, std::int64_t& sum) {
  std::vector<Terms> pending(static_cast<std::size_t>(lanes));
  for (int l = 0; l < lanes; ++l) pending[l] = terms_of(encoding, magnitude_of(weights[l]));
  for (int cycles = 0;; ++cycles) {
    std::uint32_t any = 0;
    for (const Terms& lane : pending) any |= lane.positions();
    if (!any) return std::max(cycles, 1);
    const int lowest = std::countr_zero(any);
    const std::uint32_t window = reach(first_stage_shift) << lowest;
    std::int64_t tree = 0;  // what the adder tree gives in this cycle, before the second stage shifts it
    for (int l = 0; l < lanes; ++l) {
      const std::uint32_t positions = pending[l].positions();
      const std::uint32_t drop = positions & -positions & window;
      if (!drop) continue;
      const std::int64_t shifted =
          std::int64_t(activations[l]) * (std::int64_t(1) << (std::countr_zero(drop) - lowest));
      tree += ((pending[l].minus & drop) != 0) != (weights[l] < 0) ? -shifted : shifted;
      pending[l].plus &= ~drop;
      pending[l].minus &= ~drop;
    }
    sum += tree * (std::int64_t(1) << lowest);
  }
}

// ---------------------------------------------------------------- Laconic: terms of both operands

struct PairTimes {
  std::int32_t longest[operand_padding] = {};
  std::int32_t sum[operand_padding] = {};
  std::int32_t zeros[operand_padding] = {};
};

/// Longest lane of every row x column, over `operand_padding` columns. Counts stay below 17, so products fit.
BITCLUSTER_VECTORISED
void add_pair_times(const StepView& step, int first_column, PairTimes& times) {
  for (int r = 0; r < step.rows; ++r) {
    const std::uint16_t* weights = step.weights + r * step.row_stride;
    const std::uint16_t* activations = step.activations + first_column;
    std::int16_t longest[operand_padding] = {};
    for (int l = 0; l < step.lanes; ++l, activations += step.lane_stride) {
      const std::int16_t weight = std::int16_t(weights[l]);
      for (int c = 0; c < operand_padding; ++c) {
        const std::int16_t product = std::int16_t(weight * std::int16_t(activations[c]));
        longest[c] = std::max(longest[c], product);
      }
    }
    for (int c = 0; c < operand_padding; ++c) {
      times.longest[c] = std::max<std::int32_t>(times.longest[c], longest[c]);
      times.sum[c] += longest[c];
      times.zeros[c] += longest[c] == 0;
    }
  }
}

StepCost laconic_step(const StepView& step) {
  StepCost cost;
  for (int first = 0; first < step.columns; first += operand_padding) {
    PairTimes times;
    add_pair_times(step, first, times);
    for (int c = 0; c < std::min(operand_padding, step.columns - first); ++c) {
      cost.cycles = std::max<std::int64_t>(cost.cycles, times.longest[c]);
      cost.element_cycles += times.sum[c] + times.zeros[c];
      cost.null_term += std::int64_t(times.zeros[c]) * step.lanes;
    }
  }
  for (int l = 0; l < step.lanes; ++l) {
    std::int64_t weight_terms = 0, activation_terms = 0;
    for (int r = 0; r < step.rows; ++r) weight_terms += step.weights[r * step.row_stride + l];
    for (int c = 0; c < step.columns; ++c) activation_terms += step.activations[l * step.lane_stride + c];
    cost.useful += weight_terms * activation_terms;
  }
  return cost;
}

PairRule laconic_rule(const Accelerator& accelerator) { return {term_counts(accelerator.encoding), laconic_step}; }

// ---------------------------------------------------------------- BitCluster: N terms of every weight

FixedRule bitcluster_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const std::string what = "layer '" + layer.geometry.name + "' cannot run on " + accelerator.name;
  const int terms = layer.weight_format.terms;
  if (terms < 1) {
    throw Error(what, "its weights have no fixed number of terms",
                "quantize them to BitCluster(N) with N of 1 or more");
  }
  const OperandTable counts = term_counts(layer.weight_format.encoding);
  std::int64_t effectual = 0;
  for (const std::int16_t weight : layer.weights) {
    const int count = counts[magnitude_of(weight)];
    if (count > terms) {
      throw Error(what,
                  "weight " + std::to_string(weight) + " has " + std::to_string(count) + " terms where N is " +
                      std::to_string(terms),
                  "quantize the weights to BitCluster(N) in the encoding of their format");
    }
    effectual += count;
  }
  return {terms, effectual * pixels_of(layer.geometry)};
}

int bitcluster_arithmetic(const WeightFormat& format, const std::int16_t* weights, const std::int16_t* activations,
                          int lanes, std::int64_t& sum) {
  std::vector<Terms> pending(static_cast<std::size_t>(lanes));
  for (int l = 0; l < lanes; ++l) pending[l] = terms_of(format.encoding, magnitude_of(weights[l]));
  for (int cycle = 0; cycle < format.terms; ++cycle) {
    std::int64_t tree = 0;
    for (int l = 0; l < lanes; ++l) {
      const std::uint32_t positions = pending[l].positions();
      const std::uint32_t term = positions & -positions;
      if (!term) continue;  // null term
      const std::int64_t shifted = std::int64_t(activations[l]) * std::int64_t(term);
      tree += ((pending[l].minus & term) != 0) != (weights[l] < 0) ? -shifted : shifted;
      pending[l].plus &= ~term;
      pending[l].minus &= ~term;
    }
    sum += tree;
  }
  return format.terms;
}

}  // namespace

bool needs_activations(Design design) { return design == Design::laconic; }

DesignRule design_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  switch (accelerator.design) {
    case Design::bit_parallel:
      return bit_parallel_rule(layer);
    case Design::stripes:
      return stripes_rule(accelerator, layer);
    case Design::pragmatic_weights:
      return pragmatic_weights_rule(accelerator);
    case Design::laconic:
      return laconic_rule(accelerator);
    case Design::bitcluster:
      return bitcluster_rule(accelerator, layer);
  }
  std::abort();
}

BrickArithmetic brick_arithmetic(const Accelerator& accelerator, const LayerTensors& layer) {
  switch (accelerator.design) {
    case Design::pragmatic_weights:
      return [encoding = accelerator.encoding, shift = accelerator.first_stage_shift](
                 const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum) {
        return pragmatic_arithmetic(encoding, shift, weights, activations, lanes, sum);
      };
    case Design::bitcluster:
      bitcluster_rule(accelerator, layer);  // checks that the weights have at most N terms
      return [format = layer.weight_format](const std::int16_t* weights, const std::int16_t* activations, int lanes,
                                            std::int64_t& sum) {
        return bitcluster_arithmetic(format, weights, activations, lanes, sum);
      };
    default:
      return {};
  }
}

double encoded_weight_bits(const Accelerator& accelerator, const LayerTensors& layer) {
  const WeightFormat& format = layer.weight_format;
  if (accelerator.design != Design::bitcluster) return format.bits;
  // N fields per weight, each the code of a position or of "null term". Binary: bits - 1 positions and one sign per
  // weight. Signed digits: one position more, and a sign in each field. Our assumption: plain sign-magnitude where that
  // is shorter (the terms are then found while the array is loaded).
  const auto field = [](int codes) { return std::bit_width(unsigned(codes - 1)); };
  const int encoded = format.encoding == Encoding::binary ? 1 + format.terms * field(format.bits - 1 + 1)
                                                          : format.terms * field(2 * format.bits + 1);
  return std::min(format.bits, encoded);
}

}  // namespace bitcluster
