#include "host/emulation/accelerator.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <utility>

#include "host/emulation/design.hpp"

namespace bitcluster {
namespace {

using A = Accelerator;
using Values = AcceleratorField::Values;

constexpr std::string_view turns[] = {"rotate", "single"}, shapes[] = {"T", "L"};
constexpr std::string_view encodings[] = {"binary", "signed_digit", "booth_dnnsim"};
constexpr std::string_view peers[] = {"", "dnnsim", "bitsim"};

constexpr Values of_array(double high) { return {.low = 1, .high = high}; }
constexpr Values of_design(double low, double high) { return {.low = low, .high = high, .is_of_design = true}; }
constexpr Values or_of_layer(double low, double high) {
  return {.low = low, .high = high, .is_optional = true, .is_of_design = true};
}
constexpr Values kibibytes = {.low = 1, .high = 1 << 24, .unit = 1024};
constexpr Values prices = {.low = 0, .high = 1e12};

constexpr AcceleratorField fields[] = {
    {&A::lanes, "array", "lanes", of_array(most_of_array), "1", "products per processing element"},
    {&A::rows, "array", "rows", of_array(most_of_array), "1", "filters per tile"},
    {&A::columns, "array", "columns", of_array(most_of_array), "1", "output pixels"},
    {&A::tiles, "array", "tiles", of_array(most_of_array), "1", "number of tiles"},
    {&A::fc_columns, "array", "fc_columns", {.names = turns}, "", "what the columns do in a fully connected layer"},

    {&A::encoding, "", "encoding", {.names = encodings, .is_of_design = true}, "", "how magnitudes are written"},
    // 2^4 positions are all that a term may have
    {&A::first_stage_shift, "", "first_stage_shift", of_design(0, 4), "bit", "S of two-stage shifting"},
    {&A::column_registers, "", "column_registers", of_design(0, 64), "step", "how far columns run ahead"},
    {&A::precision, "", "precision", or_of_layer(1, 16), "bit", "of activations; 0: the layer's own"},
    {&A::bits_per_cycle, "", "bits_per_cycle", of_design(1, 16), "bit", "of an activation, taken at once"},
    {&A::weight_bits, "", "weight_bits", or_of_layer(1, 16), "bit", "of weights; 0: the layer's own"},
    {&A::significances, "", "significances", of_design(1, 16), "1", "bit positions worked on side by side"},
    {&A::search_shape, "", "search_shape", {.names = shapes, .is_of_design = true}, "", "where weights are looked for"},
    {&A::lookahead, "", "lookahead", of_design(1, 8), "step", "how far ahead weights are looked for"},
    {&A::lookaside, "", "lookaside", of_design(0, most_lookaside), "lane", "how far aside weights are looked for"},
    {&A::peer, "", "peer", {.names = peers, .is_optional = true}, "", "the simulator whose quirks are taken over"},
    {&A::clock_ghz, "", "clock_ghz", {.low = 1e-3, .high = 100}, "GHz", "clock frequency"},

    {&A::weight_buffer, "memory", "weight_buffer_kib", kibibytes, "byte", "buffer of weights"},
    {&A::activation_buffer, "memory", "activation_buffer_kib", kibibytes, "byte", "buffer of activations"},
    {&A::off_chip_gbyte_per_s,
     "memory",
     "off_chip_gbyte_per_s",
     {.low = 1e-3, .high = 1e6},
     "GB/s",
     "bandwidth of off-chip memory"},

    {&A::term_energy, "energy", "term_pj", prices, "pJ", "energy of one term operation"},
    {&A::leakage_energy, "energy", "leakage_pj_per_cycle", prices, "pJ", "leakage per cycle"},
    {&A::lane_area, "area", "lane_um2", prices, "um2", "area of one slot with its share of the accumulator"},

    // what designs in one technology share
    {&A::on_chip_energy, "technology.energy", "on_chip_pj_per_byte", prices, "pJ", "per byte to or from a buffer"},
    {&A::off_chip_energy, "technology.energy", "off_chip_pj_per_byte", prices, "pJ", "per byte of off-chip memory"},
    {&A::buffer_area, "technology.area", "buffer_um2_per_byte", prices, "um2", "area per byte of a buffer"},
};

/// Stands for a member of any type, to count how many an aggregate has.
struct AnyMember {
  template <class T>
  operator T() const;
};
template <class Aggregate, std::size_t... index>
constexpr bool has_members(std::index_sequence<index...>) {
  return requires { Aggregate{(void(index), AnyMember())...}; };
}
static_assert(has_members<A>(std::make_index_sequence<std::size(fields) + 2>()) &&
                  !has_members<A>(std::make_index_sequence<std::size(fields) + 3>()),
              "every member of Accelerator but the name and the design has one line above");

}  // namespace

std::span<const AcceleratorField> accelerator_fields() { return fields; }

AcceleratorField::Value AcceleratorField::of(const Accelerator& accelerator) const {
  return std::visit(
      [&](auto place) -> Value {
        const auto value = accelerator.*place;
        if constexpr (std::is_same_v<decltype(value), const double>) {
          return value;
        } else {
          return std::int64_t(value);
        }
      },
      member);
}

void AcceleratorField::set(Accelerator& accelerator, Value value) const {
  std::visit(
      [&](auto place, auto number) {
        auto& target = accelerator.*place;
        target = static_cast<std::remove_reference_t<decltype(target)>>(number);
      },
      member, value);
}

double AcceleratorField::high(const DesignInfo& design) const {
  for (const DesignInfo::Limit& limit : design.limits) {
    if (limit.key == key) return limit.high;
  }
  return values.names.empty() ? values.high : double(values.names.size() - 1);
}

int Accelerator::slots_per_element() const { return design->slots ? design->slots(*this) : lanes; }

double Accelerator::dense_products_per_cycle() const {
  return double(lanes) * rows * columns * tiles / design->dense_cycles(*this);
}

std::optional<AcceleratorFault> fault_of(const Accelerator& accelerator) {
  const DesignInfo& design = *accelerator.design;
  for (const AcceleratorField& field : fields) {
    const auto* member = std::get_if<int Accelerator::*>(&field.member);
    if (!member) continue;
    const int value = accelerator.**member;
    const int low = field.values.is_optional ? 0 : int(field.values.low), high = int(field.high(design));
    if (value < low || value > high) {
      return AcceleratorFault{std::string(field.key), fmt::format("{} is out of range", value),
                              fmt::format("give {}..{}", low, high)};
    }
  }
  if (accelerator.weight_buffer < 1 || accelerator.activation_buffer < 1) {
    return AcceleratorFault{"memory", "a buffer has no bytes", "give weight_buffer and activation_buffer"};
  }
  if (!(accelerator.off_chip_gbyte_per_s > 0) || !(accelerator.clock_ghz > 0)) {
    return AcceleratorFault{"memory", "its bandwidth or the clock is not above 0", "give both"};
  }
  if (accelerator.column_registers > 0 && !design.has("column_registers")) {
    return AcceleratorFault{"column_registers", "the columns of this design work in lockstep", "set it to 0"};
  }
  if (design.fault) {
    if (auto fault = design.fault(accelerator)) return fault;
  }
  if (accelerator.peer == Peer::bitsim && design.needs_activations()) {
    return AcceleratorFault{"peer", "that peer has designs that are serial on weights only", "remove this key"};
  }
  return std::nullopt;
}

}  // namespace bitcluster
