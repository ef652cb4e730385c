#include <bit>
#include <optional>
#include <variant>

#include "host/emulation/design.hpp"
#include "host/emulation/tactical_schedule.hpp"

namespace bitcluster {

extern const DesignInfo tactical_p_design;

namespace {

// Bit-Tactical (Delmas Lascorz et al., ASPLOS 2019): its front end is tactical_schedule.cpp, its back ends are Dynamic
// Stripes (TCLp) and Pragmatic (TCLe)

const DesignInfo& back_end(const Accelerator& accelerator) {
  return design_named(accelerator.design == &tactical_p_design ? "dynamic_stripes" : "pragmatic");
}

DesignRule rule(const Accelerator& accelerator, const LayerTensors& layer) {
  return TacticalRule{std::get<ActivationRule>(back_end(accelerator).rule(accelerator, layer))};
}

BrickArithmetic arithmetic(const Accelerator& accelerator, const LayerTensors& layer) {
  return back_end(accelerator).arithmetic(accelerator, layer);
}

std::optional<AcceleratorFault> fault(const Accelerator& accelerator) {
  if (accelerator.search_shape == SearchShape::t && (accelerator.lookahead != 2 || accelerator.lookaside != 5)) {
    return AcceleratorFault{"search_shape", "the shape T is defined for lookahead and lookaside of 2 and 5",
                            "set these, or take the shape L"};
  }
  return std::nullopt;
}

/// A weight says from which of the places it came.
double weight_bits(const Accelerator& accelerator, const LayerTensors& layer) {
  return layer.weight_format.bits + std::bit_width(search_map(accelerator).size());
}

constexpr double most_lanes = 64;  // the lane sets of the schedule are masks of 64 bits

}  // namespace

extern constinit const DesignInfo tactical_p_design = {
    .name = "tactical_p",
    .keys = {"column_registers", "search_shape", "lookahead", "lookaside"},
    .limits = {{"lanes", most_lanes}},
    .activations = ActivationUse::cycles,
    .relative_cost = 80,
    .dense_cycles = dense_bits_of_one_operand,
    .fault = fault,
    .rule = rule,
    .weight_bits = weight_bits,
    .arithmetic = arithmetic};

extern constinit const DesignInfo tactical_e_design = {
    .name = "tactical_e",
    .keys = {"encoding", "first_stage_shift", "column_registers", "search_shape", "lookahead", "lookaside"},
    .limits = {{"lanes", most_lanes}},
    .activations = ActivationUse::cycles,
    .relative_cost = 150,
    .dense_cycles = dense_bits_of_one_operand,
    .fault = fault,
    .rule = rule,
    .weight_bits = weight_bits,
    .arithmetic = arithmetic};

}  // namespace bitcluster
