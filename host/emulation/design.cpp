#include "host/emulation/design.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <string>

#include "host/base/error.hpp"
#include "host/emulation/tactical_schedule.hpp"

// The hot loops are plain loops; on x86 the compiler also makes a version for AVX2 and picks one at run time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define BITCLUSTER_VECTORISED __attribute__((target_clones("default", "avx2")))
#else
#define BITCLUSTER_VECTORISED
#endif

namespace bitcluster {
namespace {

/// DNNsim's recoding: runs of three ones and more become two signed digits, shorter ones stay.
Terms booth_of_dnnsim(std::uint32_t magnitude) {
  Terms terms;
  bool run = false;
  for (int i = 15; i >= 0; --i) {
    const std::uint32_t bits = i >= 2 ? magnitude >> (i - 2) & 7 : magnitude << (2 - i) & 7;
    if (run) {
      if (bits == 0b010 || bits == 0b011 || bits == 0b100) terms.minus |= 1u << i;
      if (bits == 0b100) run = false;
    } else if (bits == 0b111) {
      terms.plus |= 1u << (i + 1);
      run = true;
    } else if (bits >= 0b100) {
      terms.plus |= 1u << i;
    }
  }
  return terms;
}

}  // namespace

Terms terms_of(Encoding encoding, std::uint32_t magnitude) {
  switch (encoding) {
    case Encoding::binary:
      return {magnitude, 0};
    case Encoding::signed_digit: {
      // Non-adjacent form (Reitwiesner 1960): the digits of 3m minus those of m, at half the weight.
      const std::uint32_t triple = 3 * magnitude;
      return {(triple & ~magnitude) >> 1, (~triple & magnitude) >> 1};
    }
    case Encoding::booth_dnnsim:
      return booth_of_dnnsim(magnitude);
  }
  std::abort();
}

int width_of(int value, bool is_signed) {
  const unsigned bits = unsigned(value < 0 ? -value - 1 : value);
  return std::max(1, int(std::bit_width(bits))) + (is_signed ? 1 : 0);
}

std::uint32_t first_stage_reach(int first_stage_shift) { return (1u << (1 << first_stage_shift)) - 1; }

namespace {

std::uint32_t magnitude_of(int value) { return std::uint32_t(std::abs(value)); }

template <class Function>
OperandTable make_table(Function&& of_value) {
  OperandTable table(1 << 16);
  for (int value = -32768; value <= 32767; ++value) table[std::uint16_t(value)] = std::uint16_t(of_value(value));
  return table;
}

/// Masks of term positions; made once per encoding.
const OperandTable& position_masks(Encoding encoding) {
  static const auto make = [](Encoding of) {
    return make_table([of](int value) { return terms_of(of, magnitude_of(value)).positions(); });
  };
  static const std::array<OperandTable, 3> tables = {make(Encoding::binary), make(Encoding::signed_digit),
                                                     make(Encoding::booth_dnnsim)};
  return tables[std::size_t(encoding)];
}

/// Numbers of terms.
const OperandTable& term_counts(Encoding encoding) {
  static const auto make = [](Encoding of) {
    OperandTable table = position_masks(of);
    for (std::uint16_t& entry : table) entry = std::uint16_t(std::popcount(entry));
    return table;
  };
  static const std::array<OperandTable, 3> tables = {make(Encoding::binary), make(Encoding::signed_digit),
                                                     make(Encoding::booth_dnnsim)};
  return tables[std::size_t(encoding)];
}

std::int64_t pixels_of(const LayerGeometry& geometry) {
  return geometry.fully_connected ? 1 : std::int64_t(geometry.output.height) * geometry.output.width;
}

std::int64_t products_of(const LayerTensors& layer) {
  return std::int64_t(layer.weights.size()) * pixels_of(layer.geometry);
}

[[noreturn]] void reject(const Accelerator& accelerator, const LayerTensors& layer, const std::string& why,
                         const std::string& what_to_do) {
  throw Error("layer '" + layer.geometry.name + "' cannot run on " + accelerator.name, why, what_to_do);
}

/// The least and the greatest value, and zero.
BITCLUSTER_VECTORISED
std::pair<std::int16_t, std::int16_t> extremes(const std::int16_t* values, std::size_t count) {
  std::int16_t least = 0, greatest = 0;
  for (std::size_t i = 0; i < count; ++i) {
    least = std::min(least, values[i]);
    greatest = std::max(greatest, values[i]);
  }
  return {least, greatest};
}

void check_weight_range(const Accelerator& accelerator, const LayerTensors& layer, int lowest, int highest) {
  const auto [least, greatest] = extremes(layer.weights.data(), layer.weights.size());
  if (least >= lowest && greatest <= highest) return;
  const int outside = least < lowest ? least : greatest;
  reject(accelerator, layer,
         "weight " + std::to_string(outside) + " is outside " + std::to_string(lowest) + ".." + std::to_string(highest),
         "quantize the weights to fewer bits");
}

/// In two's complement.
void check_weight_bits(const Accelerator& accelerator, const LayerTensors& layer, int bits) {
  check_weight_range(accelerator, layer, -(1 << (bits - 1)), (1 << (bits - 1)) - 1);
}

/// As sign and magnitude.
void check_magnitudes(const Accelerator& accelerator, const LayerTensors& layer, int bits) {
  check_weight_range(accelerator, layer, -((1 << bits) - 1), (1 << bits) - 1);
}

/// Where widths are in two's complement, a sign that was not announced would be lost.
void check_signs(const Accelerator& accelerator, const LayerTensors& layer) {
  if (!layer.activations_signed && extremes(layer.activations.data(), layer.activations.size()).first < 0) {
    reject(accelerator, layer, "its activations are said to be unsigned and some are negative",
           "set activations_signed");
  }
}

// ---------------------------------------------------------------- DaDianNao (Chen et al., MICRO 2014)
FixedRule bit_parallel_rule(const LayerTensors& layer) { return {1, products_of(layer)}; }

// ---------------------------------------------------------------- Stripes (Judd et al., MICRO 2016)
FixedRule stripes_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const int bits = accelerator.precision ? accelerator.precision : layer.activation_bits;
  if (layer.activations.empty()) return {bits, bits * products_of(layer)};
  if (accelerator.peer != Peer::none) {  // peers do not look at the values
    const OperandTable ones =
        make_table([bits](int value) { return std::min(bits, std::popcount(magnitude_of(value))); });
    return {bits, operand_products(layer, ones, {})};
  }
  for (const std::int16_t value : layer.activations) {
    if (magnitude_of(value) >> bits) {
      reject(accelerator, layer,
             "activation " + std::to_string(value) + " has more than " + std::to_string(bits) + " bits",
             "raise the activation precision");
    }
  }
  return {bits, operand_products(layer, term_counts(Encoding::binary), {})};
}

// ---------------------------------------------------------------- values as wide as the widest in flight

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
ActivationRule dynamic_stripes_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  check_signs(accelerator, layer);
  const OperandTable widths = make_table([&](int value) { return width_of(value, layer.activations_signed); });
  return {widths, widths, term_counts(Encoding::binary), {}, widest_of_lanes, 0};
}

/// Loom (Sharify et al., DAC 2018): every pair of an activation's bits (bits_per_cycle at a time, as many as
/// the widest in flight has) and a weight's bits (as many as the layer's weights have).
ActivationRule loom_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const int weight_bits = accelerator.weight_bits ? accelerator.weight_bits : layer.weight_format.bits;
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

// ---------------------------------------------------------------- Pragmatic (Albericio et al., MICRO 2017)
// Section 5.4: two-stage shifting; 5.5: columns that run ahead; 5.6: signed terms

/// Number of ones, in operations that a compiler can vectorise.
inline std::uint16_t ones_of(std::uint16_t mask) {
  std::uint16_t pairs = std::uint16_t(mask - (mask >> 1 & 0x5555));
  pairs = std::uint16_t((pairs & 0x3333) + (pairs >> 2 & 0x3333));
  pairs = std::uint16_t((pairs + (pairs >> 4)) & 0x0f0f);
  return std::uint16_t((pairs + (pairs >> 8)) & 0x1f);
}

/// The rule on `operand_padding` columns (or bricks of weights) side by side; 0 cycles without any term.
template <int lanes_at_once>
inline __attribute__((always_inline)) void pragmatic_columns_of(const std::uint16_t* const* lanes, int count,
                                                                std::uint16_t reach, std::uint16_t* cycles) {
  thread_local std::vector<std::uint16_t> pending_lanes;
  std::uint16_t pending_registers[lanes_at_once ? lanes_at_once : 1][operand_padding];
  std::uint16_t(*pending)[operand_padding] = pending_registers;
  if (lanes_at_once) {
    count = lanes_at_once;
  } else {
    pending_lanes.resize(std::size_t(count) * operand_padding);
    pending = reinterpret_cast<std::uint16_t(*)[operand_padding]>(pending_lanes.data());
  }
  std::uint16_t any[operand_padding] = {};
  for (int l = 0; l < count; ++l) {
    for (int c = 0; c < operand_padding; ++c) {
      pending[l][c] = lanes[l][c];
      any[c] = std::uint16_t(any[c] | lanes[l][c]);
    }
  }
  std::uint16_t taken[operand_padding] = {};
  for (;;) {
    std::uint16_t left = 0;
    for (int c = 0; c < operand_padding; ++c) left |= any[c];
    if (!left) break;
    std::uint16_t window[operand_padding], rest[operand_padding] = {};
    for (int c = 0; c < operand_padding; ++c) {
      taken[c] = std::uint16_t(taken[c] + (any[c] != 0));
      window[c] = std::uint16_t((any[c] & -any[c]) * reach);
    }
    for (int l = 0; l < count; ++l) {
      for (int c = 0; c < operand_padding; ++c) {
        const std::uint16_t drop = std::uint16_t(pending[l][c] & -pending[l][c] & window[c]);
        pending[l][c] = std::uint16_t(pending[l][c] ^ drop);
        rest[c] = std::uint16_t(rest[c] | pending[l][c]);
      }
    }
    std::copy_n(rest, operand_padding, any);
  }
  std::copy_n(taken, operand_padding, cycles);
}

BITCLUSTER_VECTORISED
void pragmatic_columns(const std::uint16_t* const* lanes, int count, std::uint16_t reach, std::uint16_t* cycles) {
  if (count == 16) {
    pragmatic_columns_of<16>(lanes, count, reach, cycles);
  } else {
    pragmatic_columns_of<0>(lanes, count, reach, cycles);
  }
}

/// Ones of every column.
BITCLUSTER_VECTORISED
void ones_of_columns(const std::uint16_t* const* lanes, int count, std::uint16_t* ones) {
  std::uint16_t sums[operand_padding] = {};
  for (int l = 0; l < count; ++l) {
    for (int c = 0; c < operand_padding; ++c) sums[c] = std::uint16_t(sums[c] + ones_of(lanes[l][c]));
  }
  std::copy_n(sums, operand_padding, ones);
}

/// Serial on weights, as [BC] improves it. BitSim counts the sign as a one, and lets a step of zeros take no time.
WeightRule pragmatic_weights_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  WeightRule rule;
  if (accelerator.peer == Peer::bitsim) {
    check_weight_bits(accelerator, layer, 8);
    rule.operands = make_table([](int value) { return std::min(std::abs(value), 127) | (value < 0 ? 128 : 0); });
    rule.shortest_step = 0;
  } else {
    rule.operands = position_masks(accelerator.encoding);
  }
  const PragmaticBricks design{std::uint16_t(first_stage_reach(accelerator.first_stage_shift)), rule.shortest_step};
  rule.design = design;
  rule.bricks = [design](const BrickRun& run, BrickCost* costs) {
    thread_local std::vector<std::uint16_t> turned;  // (lanes, operand_padding): bricks side by side
    thread_local std::vector<const std::uint16_t*> lanes;
    turned.assign(std::size_t(run.lanes) * operand_padding, 0);
    lanes.resize(std::size_t(run.lanes));
    for (int l = 0; l < run.lanes; ++l) lanes[l] = turned.data() + l * operand_padding;
    for (int first = 0; first < run.count; first += operand_padding) {
      const int here = std::min(operand_padding, run.count - first);
      for (int b = 0; b < here; ++b) {
        const std::uint16_t* brick = run.weights + (first + b) * run.stride;
        for (int l = 0; l < run.lanes; ++l) turned[std::size_t(l) * operand_padding + b] = brick[l];
      }
      std::uint16_t cycles[operand_padding], ones[operand_padding];
      ones_of_columns(lanes.data(), run.lanes, ones);
      pragmatic_columns(lanes.data(), run.lanes, design.reach, cycles);
      for (int b = 0; b < here; ++b) costs[first + b] = design.cost(cycles[b], ones[b], run.lanes);
    }
  };
  return rule;
}

ActivationRule pragmatic_rule(const Accelerator& accelerator) {
  const std::uint16_t reach = std::uint16_t(first_stage_reach(accelerator.first_stage_shift));
  const OperandTable& terms = term_counts(accelerator.encoding);
  return {position_masks(accelerator.encoding),
          terms,
          terms,
          {},
          [reach](const std::uint16_t* const* lanes, int count, std::uint16_t* cycles) {
            pragmatic_columns(lanes, count, reach, cycles);
          },
          reach};
}

// ---------------------------------------------------------------- Laconic (Sharify et al., ISCA 2019)

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

/// Terms of weights times terms of activations, all lanes of the chip in lockstep.
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

// ---------------------------------------------------------------- bits of a group of weights, column by column

/// A rule that looks at one brick at a time.
template <class Brick>
auto one_by_one(Brick&& brick) {
  return [brick](const BrickRun& run, BrickCost* costs) {
    for (int b = 0; b < run.count; ++b) costs[b] = brick(run.weights + b * run.stride, run.lanes);
  };
}

/// How many of the weights have each bit, for the lowest `bits` bits.
std::array<int, 16> ones_by_position(const std::uint16_t* masks, int lanes, int bits) {
  // every byte of a table entry counts one position
  static const std::array<std::uint64_t, 256> spread = [] {
    std::array<std::uint64_t, 256> table{};
    for (int byte = 0; byte < 256; ++byte) {
      for (int position = 0; position < 8; ++position) {
        table[byte] |= std::uint64_t(byte >> position & 1) << (8 * position);
      }
    }
    return table;
  }();
  std::array<int, 16> ones{};
  for (int first = 0; first < lanes; first += 255) {  // a byte counts to 255
    std::uint64_t low = 0, high = 0;
    const int last = std::min(lanes, first + 255);
    for (int l = first; l < last; ++l) low += spread[masks[l] & 255];
    if (bits > 8) {
      for (int l = first; l < last; ++l) high += spread[masks[l] >> 8];
    }
    for (int position = 0; position < bits; ++position) {
      ones[position] += int((position < 8 ? low : high) >> (8 * (position & 7)) & 255);
    }
  }
  return ones;
}

/// Bitlet (Lu et al., MICRO 2021; also BBS, MICRO 2024, section II-A): every significance takes one of the weights that
/// have its bit per cycle. BitSim takes two's complement of 8 bits.
WeightRule bitlet_rule(const Accelerator& accelerator, const LayerTensors& layer) {
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
WeightRule bitwave_rule(const Accelerator& accelerator, const LayerTensors& layer) {
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

/// BitVert (Chen et al., BBS, MICRO 2024, sections III-A and IV-A): the bit columns of a group of weights in two's
/// complement. A column of more ones than zeros is inverted and corrected with the sum of the activations, so half as
/// many slots as lanes do; columns of one value take no time. Columns are not pruned here. BitSim does not invert.
WeightRule bitvert_rule(const Accelerator& accelerator, const LayerTensors& layer) {
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

// ---------------------------------------------------------------- BitCluster (Li et al., TCAD 2022): N terms of every
// weight

FixedRule bitcluster_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  const int terms = layer.weight_format.terms;
  if (terms < 1) {
    reject(accelerator, layer, "its weights have no fixed number of terms",
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
      reject(accelerator, layer,
             "weight " + std::to_string(weight) + " has " + std::to_string(count) + " terms where N is " +
                 std::to_string(terms),
             "quantize the weights to BitCluster(N) in the encoding of their format");
    }
    effectual += count;
  }
  return {terms, effectual * pixels_of(layer.geometry)};
}

}  // namespace

bool needs_activations(Design design) {
  return design == Design::dynamic_stripes || design == Design::loom || design == Design::pragmatic ||
         design == Design::laconic || design == Design::tactical_p || design == Design::tactical_e;
}

bool looks_at_activations(Design design) { return needs_activations(design) || design == Design::stripes; }

bool serial_on_weights(Design design) {
  return design == Design::pragmatic_weights || design == Design::bitlet || design == Design::bitwave ||
         design == Design::bitvert || design == Design::bitcluster;
}

int Accelerator::slots_per_element() const {
  if (design == Design::bitlet) return significances;
  if (design == Design::bitvert) return (lanes + 1) / 2;
  return lanes;
}

Range of_lanes(Design design) {
  // the lane sets of Bit-Tactical's schedule are masks of 64 bits
  return design == Design::tactical_p || design == Design::tactical_e ? Range{1, 64} : of_array;
}

std::optional<AcceleratorFault> fault_of(const Accelerator& accelerator) {
  struct Setting {
    std::string key;
    int value;
    Range range;
  };
  const Range or_own = {0, of_bits.high};  // 0: the layer's own
  for (const auto& [key, value, range] : {Setting{"lanes", accelerator.lanes, of_lanes(accelerator.design)},
                                          {"rows", accelerator.rows, of_array},
                                          {"columns", accelerator.columns, of_array},
                                          {"tiles", accelerator.tiles, of_array},
                                          {"first_stage_shift", accelerator.first_stage_shift, of_shift},
                                          {"column_registers", accelerator.column_registers, of_registers},
                                          {"precision", accelerator.precision, or_own},
                                          {"bits_per_cycle", accelerator.bits_per_cycle, of_bits},
                                          {"weight_bits", accelerator.weight_bits, or_own},
                                          {"significances", accelerator.significances, of_bits},
                                          {"lookahead", accelerator.lookahead, of_lookahead},
                                          {"lookaside", accelerator.lookaside, of_lookaside}}) {
    if (value < range.low || value > range.high) {
      return AcceleratorFault{key, std::to_string(value) + " is out of range",
                              "give " + std::to_string(range.low) + ".." + std::to_string(range.high)};
    }
  }
  if (accelerator.weight_buffer < 1 || accelerator.activation_buffer < 1) {
    return AcceleratorFault{"memory", "a buffer has no bytes", "give weight_buffer and activation_buffer"};
  }
  if (!(accelerator.off_chip_gbyte_per_s > 0) || !(accelerator.clock_ghz > 0)) {
    return AcceleratorFault{"memory", "its bandwidth or the clock is not above 0", "give both"};
  }
  const bool tactical = accelerator.design == Design::tactical_p || accelerator.design == Design::tactical_e;
  if (accelerator.column_registers > 0 && !tactical && accelerator.design != Design::dynamic_stripes &&
      accelerator.design != Design::pragmatic) {
    return AcceleratorFault{"column_registers", "the columns of this design work in lockstep", "set it to 0"};
  }
  if (tactical && accelerator.search_shape == SearchShape::t &&
      (accelerator.lookahead != 2 || accelerator.lookaside != 5)) {
    return AcceleratorFault{"search_shape", "the shape T is defined for lookahead and lookaside of 2 and 5",
                            "set these, or take the shape L"};
  }
  if (accelerator.peer == Peer::bitsim && needs_activations(accelerator.design)) {
    return AcceleratorFault{"peer", "that peer has designs that are serial on weights only", "remove this key"};
  }
  if (accelerator.peer == Peer::bitsim && accelerator.design == Design::bitlet && accelerator.significances != 8) {
    return AcceleratorFault{"significances", "that peer takes weights of 8 bits", "set it to 8"};
  }
  return std::nullopt;
}

DesignRule design_rule(const Accelerator& accelerator, const LayerTensors& layer) {
  switch (accelerator.design) {
    case Design::bit_parallel:
      return bit_parallel_rule(layer);
    case Design::stripes:
      return stripes_rule(accelerator, layer);
    case Design::dynamic_stripes:
      return dynamic_stripes_rule(accelerator, layer);
    case Design::loom:
      return loom_rule(accelerator, layer);
    case Design::pragmatic:
      return pragmatic_rule(accelerator);
    case Design::pragmatic_weights:
      return pragmatic_weights_rule(accelerator, layer);
    case Design::laconic:
      return laconic_rule(accelerator);
    // Bit-Tactical (Delmas Lascorz et al., ASPLOS 2019): its front end is schedule.cpp, its back ends are these
    case Design::tactical_p:
      return TacticalRule{dynamic_stripes_rule(accelerator, layer)};
    case Design::tactical_e:
      return TacticalRule{pragmatic_rule(accelerator)};
    case Design::bitlet:
      return bitlet_rule(accelerator, layer);
    case Design::bitwave:
      return bitwave_rule(accelerator, layer);
    case Design::bitvert:
      return bitvert_rule(accelerator, layer);
    case Design::bitcluster:
      return bitcluster_rule(accelerator, layer);
  }
  std::abort();
}

double encoded_weight_bits(const Accelerator& accelerator, const LayerTensors& layer) {
  const WeightFormat& format = layer.weight_format;
  const auto field = [](int codes) { return std::bit_width(unsigned(codes - 1)); };
  if (accelerator.design == Design::tactical_p || accelerator.design == Design::tactical_e) {
    // a weight says from which of the places it came (ASPLOS 2019)
    return format.bits + field(1 + int(search_map(accelerator).size()));
  }
  if (accelerator.design != Design::bitcluster) return format.bits;
  // N fields per weight, each the code of a position or of "null term". Binary: bits - 1 positions and one sign per
  // weight. Signed digits: one position more, and a sign in each field. Our assumption: plain sign-magnitude where that
  // is shorter (the terms are then found while the array is loaded).
  const int encoded = format.encoding == Encoding::binary ? 1 + format.terms * field(format.bits - 1 + 1)
                                                          : format.terms * field(2 * format.bits + 1);
  return std::min(format.bits, encoded);
}

}  // namespace bitcluster
