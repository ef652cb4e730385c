#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "host/emulation/bricks.hpp"
#include "host/emulation/emulator.hpp"
#include "host/emulation/mapping.hpp"

namespace bitcluster {

// Each design is one function here that answers with one of the five rules below. What a rule
// does not say (steps, edges, who waits, memory, energy) emulator.cpp works out in the same way for all of them.

/// Every step takes the same time, whatever the values.
struct FixedRule {
  int cycles = 1;           //!< of a step
  std::int64_t useful = 0;  //!< useful slots of the whole layer; the other slots that hold a value are null terms
};

/// Consecutive bricks of one row, all of as many lanes.
struct BrickRun {
  const std::uint16_t* weights = nullptr;  //!< lane l of brick b at [b * stride + l]
  std::ptrdiff_t stride = 0;               //!< multiple of operand_padding; zeros follow the lanes
  int count = 0, lanes = 0;
};

/// The time of a step depends on the weights alone, row by row.
struct WeightRule {
  OperandTable operands;
  BrickRule design;
  std::function<void(const BrickRun& run, BrickCost* costs)> bricks;  //!< fills costs[0..run.count) by `design`
  int shortest_step = 1;

  /// Slots that a brick of so many weights occupies per cycle.
  int slots(int lanes) const {
    return std::visit([lanes](const auto& rule) { return rule.slots(lanes); }, design);
  }
};

/// The time of a step depends on the activations alone, column by column; columns may run ahead of each other.
struct ActivationRule {
  OperandTable operands;
  OperandTable busy;          //!< slots that a lane is busy for itself; the rest of its brick's cycles it waits
  OperandTable useful;        //!< of these, slots on effectual terms,
  OperandTable weight_terms;  //!< times this of the weight, if it matters (else empty); the rest are null terms
  /// Cycles of `operand_padding` columns at once, 0 for a brick without any term (it still takes one cycle). Lane l of
  /// column c is at lanes[l][c].
  std::function<void(const std::uint16_t* const* lanes, int count, std::uint16_t* cycles)> columns;
  /// What `columns` does: Pragmatic with this first_stage_reach(); 0: as long as the widest lane.
  std::uint16_t reach = 0;
};

/// A step as a rule sees it: every row meets every column on every lane.
struct StepView {
  int lanes = 0, rows = 0, columns = 0;
  const std::uint16_t* weights = nullptr;  //!< lane l of row r at [r * row_stride + l]
  std::ptrdiff_t row_stride = 0;
  const std::uint16_t* activations = nullptr;  //!< column c of lane l at [l * lane_stride + c], zeros up to lane_stride
  std::ptrdiff_t lane_stride = 0;              //!< multiple of operand_padding
};

/// What a step takes; sums over its rows x columns processing elements.
struct StepCost {
  std::int64_t cycles = 1;          //!< of the step
  std::int64_t element_cycles = 0;  //!< time of each processing element on its own, summed
  std::int64_t useful = 0;          //!< slots
  std::int64_t null_term = 0;       //!< slots
};

/// The time of a step depends on weights and activations together: a processing element takes the largest product of
/// two operands (at most 16 each) among its lanes, at least one cycle.
struct PairRule {
  OperandTable operands;
  std::function<StepCost(const StepView&)> step;
};

/// The weights are scheduled first (schedule.hpp), then the activations that they meet decide.
struct TacticalRule {
  ActivationRule behind;
};

using DesignRule = std::variant<FixedRule, WeightRule, ActivationRule, PairRule, TacticalRule>;

/// The rule of the accelerator's design for one layer. Error if the layer's values do not suit the design.
DesignRule design_rule(const Accelerator& accelerator, const LayerTensors& layer);

/// Bits that one weight of the layer takes in memory, in the design's own format. Bit-Tactical's metadata included, its
/// skipped rows not; BitWave's compression depends on the values (BrickCost).
double encoded_weight_bits(const Accelerator& accelerator, const LayerTensors& layer);

/// The terms of a magnitude: position p is in `plus` if +2^p is a term, in `minus` if -2^p is.
struct Terms {
  std::uint32_t plus = 0, minus = 0;
  std::uint32_t positions() const { return plus | minus; }
};
Terms terms_of(Encoding encoding, std::uint32_t magnitude);

/// Bits that a serial design spends on a value: up to its top one bit, at least 1; in a layer with signs a negative
/// value is taken below its two's complement sign, and the sign is one bit more.
int width_of(int value, bool is_signed);

/// Bit positions that a first-stage shifter of Pragmatic reaches from the lowest pending one, as a mask.
std::uint32_t first_stage_reach(int first_stage_shift);

}  // namespace bitcluster
