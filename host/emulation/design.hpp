#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <variant>

#include "host/emulation/accelerator.hpp"
#include "host/emulation/bricks.hpp"
#include "host/emulation/layer.hpp"
#include "host/emulation/operands.hpp"

namespace bitcluster {

// Each design answers with one of the five rules below. What a rule does not say (steps, edges, who waits, memory,
// energy) is worked out in the same way for all of them.

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

/// The weights are scheduled first (tactical_schedule.hpp), then the activations that they meet decide.
struct TacticalRule {
  ActivationRule behind;
};

using DesignRule = std::variant<FixedRule, WeightRule, ActivationRule, PairRule, TacticalRule>;

/// Adds the products of one brick to `sum` by a design's own shift-and-add, cycle by cycle, and returns the cycles that
/// the processing element took.
using BrickArithmetic =
    std::function<int(const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum)>;

/// What a design does with the activations' values. A design that has no use for them may be given them all the same.
enum class ActivationUse {
  none,          //!< one image stands for all
  useful_slots,  //!< tells effectual bits from zero bits; without activations all bits count as useful
  cycles         //!< its cycles depend on them
};

/// All that the emulator knows of one design. Every file of designs/ defines one or some.
struct DesignInfo {
  struct Limit {
    std::string_view key;
    double high;
  };

  std::string_view name;          //!< as TOML files name it
  std::string_view keys[8] = {};  //!< parameters that not all designs have, of accelerator_fields()
  Limit limits[2] = {};           //!< parameters whose greatest value is lower than for other designs
  ActivationUse activations = ActivationUse::none;
  /// Of emulating one product, in 0.01 ns (VGG-16 in 224x224, --plan; 1 where it is less), where evaluating one takes
  /// 0.6 to 2.
  double relative_cost = 1;

  /// Cycles of a step of 8-bit operands in which no bit is skipped, which makes arrays of different designs comparable.
  int (*dense_cycles)(const Accelerator&) = nullptr;
  /// Slots of a processing element; null: one per lane.
  int (*slots)(const Accelerator&) = nullptr;
  /// What makes an accelerator of this design impossible beside the bounds of its parameters; null: nothing.
  std::optional<AcceleratorFault> (*fault)(const Accelerator&) = nullptr;
  /// For one layer. Error if the layer's values do not suit the design.
  DesignRule (*rule)(const Accelerator&, const LayerTensors&) = nullptr;
  /// Bits that one weight takes in memory, in the design's own format; null: those of the layer.
  double (*weight_bits)(const Accelerator&, const LayerTensors&) = nullptr;
  /// For one layer; null: none of its own.
  BrickArithmetic (*arithmetic)(const Accelerator&, const LayerTensors&) = nullptr;

  bool has(std::string_view key) const { return std::find(std::begin(keys), std::end(keys), key) != std::end(keys); }

  /// Whether cycles depend on the activations' values.
  bool needs_activations() const { return activations == ActivationUse::cycles; }
  /// Whether any count does. For the other designs one image stands for all.
  bool looks_at_activations() const { return activations != ActivationUse::none; }
};

/// All of them, in the order of tables.
std::span<const DesignInfo* const> designs();

/// DesignInfo::dense_cycles of designs that are serial in one operand, a bit per cycle.
int dense_bits_of_one_operand(const Accelerator&);

/// Bits that one weight of the layer takes in memory, in the design's own format. Bit-Tactical's metadata included, its
/// skipped rows not; BitWave's compression depends on the values (BrickCost).
double encoded_weight_bits(const Accelerator& accelerator, const LayerTensors& layer);

}  // namespace bitcluster
