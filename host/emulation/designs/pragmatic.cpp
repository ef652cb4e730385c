#include <algorithm>
#include <bit>
#include <cstdlib>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/pending_terms.hpp"
#include "host/emulation/vectorised.hpp"

namespace bitcluster {
namespace {

// Pragmatic (Albericio et al., MICRO 2017). Section 5.4: two-stage shifting; 5.5: columns that run ahead; 5.6: signed
// terms

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
DesignRule pragmatic_weights_rule(const Accelerator& accelerator, const LayerTensors& layer) {
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

DesignRule pragmatic_rule(const Accelerator& accelerator, const LayerTensors&) {
  const std::uint16_t reach = std::uint16_t(first_stage_reach(accelerator.first_stage_shift));
  const OperandTable& terms = term_counts(accelerator.encoding);
  return ActivationRule{position_masks(accelerator.encoding),
                        terms,
                        terms,
                        {},
                        [reach](const std::uint16_t* const* lanes, int count, std::uint16_t* cycles) {
                          pragmatic_columns(lanes, count, reach, cycles);
                        },
                        reach};
}

/// Two-stage shifting over the terms of the serial operand.
int add_brick(Encoding encoding, int first_stage_shift, const std::int16_t* serial, const std::int16_t* parallel,
              int lanes, std::int64_t& sum) {
  std::vector<PendingTerms> pending = pending_terms(encoding, serial, lanes);
  for (int cycles = 0;; ++cycles) {
    std::uint32_t any = 0;
    for (const PendingTerms& lane : pending) any |= lane.positions();
    if (!any) return std::max(cycles, 1);
    const int lowest = std::countr_zero(any);
    const std::uint32_t window = first_stage_reach(first_stage_shift) << lowest;
    std::int64_t tree = 0;  // what the adder tree gives in this cycle, before the second stage shifts it
    for (int l = 0; l < lanes; ++l) {
      const std::uint32_t term = pending[l].lowest() & window;
      if (!term) continue;
      tree += pending[l].take(term) * parallel[l] * power_of_two(std::countr_zero(term) - lowest);
    }
    sum += tree * power_of_two(lowest);
  }
}

BrickArithmetic pragmatic_arithmetic(const Accelerator& accelerator, const LayerTensors&) {
  return [encoding = accelerator.encoding, shift = accelerator.first_stage_shift](
             const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum) {
    return add_brick(encoding, shift, activations, weights, lanes, sum);
  };
}

BrickArithmetic pragmatic_weights_arithmetic(const Accelerator& accelerator, const LayerTensors&) {
  return [encoding = accelerator.encoding, shift = accelerator.first_stage_shift](auto&&... brick) {
    return add_brick(encoding, shift, brick...);
  };
}

}  // namespace

extern constinit const DesignInfo pragmatic_design = {.name = "pragmatic",
                                                      .keys = {"encoding", "first_stage_shift", "column_registers"},
                                                      .activations = ActivationUse::cycles,
                                                      .dense_cycles = dense_bits_of_one_operand,
                                                      .rule = pragmatic_rule,
                                                      .arithmetic = pragmatic_arithmetic};

extern constinit const DesignInfo pragmatic_weights_design = {.name = "pragmatic_weights",
                                                              .keys = {"encoding", "first_stage_shift"},
                                                              .dense_cycles = dense_bits_of_one_operand,
                                                              .rule = pragmatic_weights_rule,
                                                              .arithmetic = pragmatic_weights_arithmetic};

}  // namespace bitcluster
