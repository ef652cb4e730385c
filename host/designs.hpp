#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <variant>
#include <vector>

#include "host/emulator.hpp"

namespace bitcluster {

// Each design of DESIGN section 5.2 is one function here that answers with one of the three rules below. What a rule
// does not say (steps, edges, who waits, memory, energy) emulator.cpp works out in the same way for all of them.

/// How operands reach a rule, indexed by magnitude (0..32768): a mask of term positions, or a number of terms.
using OperandTable = std::vector<std::uint16_t>;

/// Every step takes the same time, whatever the values.
struct FixedRule {
  int cycles = 1;           //!< of a step
  std::int64_t useful = 0;  //!< useful slots of the whole layer; the other slots that hold a value are null terms
};

/// What one brick takes in the processing elements that work on it, if they need not wait for others.
struct BrickCost {
  int cycles = 1;
  int useful = 0;     //!< slots
  int null_term = 0;  //!< slots; the rest of lanes x cycles waits for another lane
};

/// The time of a step depends on the weights alone, row by row.
struct WeightRule {
  OperandTable operands;
  /// Weights of one row's brick; zeros follow up to the next multiple of `operand_padding`.
  std::function<BrickCost(const std::uint16_t* weights, int lanes)> brick;
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

/// The time of a step depends on weights and activations together.
struct PairRule {
  OperandTable operands;
  std::function<StepCost(const StepView&)> step;
};

using DesignRule = std::variant<FixedRule, WeightRule, PairRule>;

/// Operands come in runs of this many, so that a compiler can vectorise the rules.
inline constexpr int operand_padding = 16;

/// The rule of the accelerator's design for one layer. Error if the layer's values do not suit the design.
DesignRule design_rule(const Accelerator& accelerator, const LayerTensors& layer);

/// Functional mode: adds the products of one brick to `sum` by the design's own shift-and-add, cycle by cycle, and
/// returns the cycles that the processing element took.
using BrickArithmetic =
    std::function<int(const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum)>;

/// Empty for a design without arithmetic of its own.
BrickArithmetic brick_arithmetic(const Accelerator& accelerator, const LayerTensors& layer);

/// Bits that one weight of the layer takes in memory, in the design's own format.
double encoded_weight_bits(const Accelerator& accelerator, const LayerTensors& layer);

/// The terms of a magnitude: position p is in `plus` if +2^p is a term, in `minus` if -2^p is.
struct Terms {
  std::uint32_t plus = 0, minus = 0;
  std::uint32_t positions() const { return plus | minus; }
};
Terms terms_of(Encoding encoding, std::uint32_t magnitude);

}  // namespace bitcluster
