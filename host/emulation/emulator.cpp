#include "host/emulation/emulator.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <variant>

#include "host/base/error.hpp"
#include "host/emulation/column_clock.hpp"
#include "host/emulation/counting/counting.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/peers.hpp"
#include "host/emulation/step_counter.hpp"

namespace bitcluster {
namespace {

LayerWork count_here(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                     const DesignRule& rule, StepCounter* counter) {
  return std::visit(
      [&](const auto& of_design) {
        using Rule = std::decay_t<decltype(of_design)>;
        if constexpr (std::is_same_v<Rule, TacticalRule>) {
          return count_steps(accelerator, mapping, layer, of_design, counter);
        } else if constexpr (std::is_same_v<Rule, ActivationRule>) {
          return count_steps(accelerator, mapping, layer, of_design);
        } else {
          return count_steps(mapping, layer, of_design);
        }
      },
      rule);
}

/// Error if the rule works on other slots than the design says its elements have: the difference would pass for empty
/// lanes.
void check_slots(const Accelerator& accelerator, const DesignRule& rule) {
  const auto* of_weights = std::get_if<WeightRule>(&rule);
  const int slots = of_weights ? of_weights->slots(accelerator.lanes) : accelerator.lanes;
  if (slots == accelerator.slots_per_element()) return;
  throw Error(fmt::format("{} cannot be emulated", accelerator.name),
              fmt::format("the rule of design '{}' works on {} slots of an element, which has {}",
                          accelerator.design->name, slots, accelerator.slots_per_element()),
              "report this as a fault of the design");
}

/// Every slot of every cycle, by what it did. Error if they do not add up, which is a fault of the counting.
Slots slots_of(const Accelerator& accelerator, const Mapping& mapping, const LayerWork& counted, bool rotating,
               const std::string& layer, const LayerEmulation& times) {
  const Work& work = counted.work;
  Slots slots;
  slots.total = accelerator.slots_per_cycle() * times.cycles;
  slots.useful = work.useful;
  slots.null_term = work.null_term;
  slots.lane = work.lane;
  slots.row_column = work.row_column;
  std::int64_t used_columns = mapping.columns;
  if (rotating) {  // columns that ever get a brick wait for each other when they have none
    used_columns = std::min<std::int64_t>(accelerator.columns, std::int64_t(counted.step_cycles.size()));
    slots.row_column += mapping.column_slots * (used_columns * times.compute_cycles - work.cycles);
  }
  slots.edge =
      std::int64_t(work.edge) + mapping.column_slots * (accelerator.columns - used_columns) * times.compute_cycles;
  slots.memory = accelerator.slots_per_cycle() * (times.cycles - times.compute_cycles);
  const std::int64_t sum = slots.useful + slots.edge + slots.lane + slots.row_column + slots.null_term + slots.memory;
  if (sum != slots.total) {
    throw Error(fmt::format("the slots of layer '{}' on {} do not add up", layer, accelerator.name),
                fmt::format("{} are useful or idle for some cause, but there are {}", sum, slots.total),
                "report this as a fault of the emulator");
  }
  return slots;
}

}  // namespace

Slots& Slots::operator+=(const Slots& other) {
  total += other.total;
  useful += other.useful;
  edge += other.edge;
  lane += other.lane;
  row_column += other.row_column;
  null_term += other.null_term;
  memory += other.memory;
  return *this;
}

LayerEmulation& LayerEmulation::operator+=(const LayerEmulation& other) {
  cycles += other.cycles;
  compute_cycles += other.compute_cycles;
  memory_cycles += other.memory_cycles;
  slots += other.slots;
  zero_bits_known = zero_bits_known && other.zero_bits_known;
  traffic += other.traffic;
  energy += other.energy;
  return *this;
}

LayerEmulation emulate(const Accelerator& accelerator, const LayerTensors& given, StepCounter* counter) {
  check_layer(accelerator, given);
  const PeerLayer seen(accelerator, given);
  const LayerTensors& layer = seen.tensors;
  const DesignInfo& design = *accelerator.design;
  const Mapping mapping = map_layer(accelerator, layer.geometry);
  const DesignRule rule = design.rule(accelerator, layer);
  check_slots(accelerator, rule);
  std::optional<LayerWork> elsewhere;
  if (counter) elsewhere = counter->count(accelerator, mapping, layer, rule);
  const LayerWork counted = elsewhere ? *std::move(elsewhere) : count_here(accelerator, mapping, layer, rule, counter);
  const Work& work = counted.work;

  LayerEmulation result;
  result.zero_bits_known = design.activations != ActivationUse::useful_slots || !layer.activations.empty();
  const bool rotating = mapping.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  result.compute_cycles = rotating ? rotate(counted.step_cycles, accelerator.columns) : work.cycles;
  result.traffic =
      traffic_of(accelerator, layer, mapping,
                 counted.own_weight_bits ? double(work.weight_bits)
                                         : double(layer.weights.size()) * encoded_weight_bits(accelerator, layer));
  const double bytes_per_cycle = accelerator.off_chip_gbyte_per_s / accelerator.clock_ghz;
  const double memory_cycles =
      std::ceil((result.traffic.weights_off_chip + result.traffic.activations_off_chip) / bytes_per_cycle);
  if (std::max(double(result.compute_cycles), memory_cycles) * double(accelerator.slots_per_cycle()) > 0x1p62) {
    throw Error(fmt::format("layer '{}' cannot be emulated on {}", layer.geometry.name, accelerator.name),
                "its slots times cycles do not fit 64 bits", "take a smaller array or a faster memory");
  }
  result.memory_cycles = std::int64_t(memory_cycles);
  result.cycles = std::max(result.compute_cycles, result.memory_cycles);
  result.slots = slots_of(accelerator, mapping, counted, rotating, layer.geometry.name, result);
  result.energy = energy_of(accelerator, result.slots.useful + result.slots.null_term, result.cycles, result.traffic);
  return result;
}

}  // namespace bitcluster
