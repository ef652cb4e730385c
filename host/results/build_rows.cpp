#include "host/results/build_rows.hpp"

#include <cstdlib>
#include <variant>

#include "host/emulation/design.hpp"

namespace bitcluster {

std::vector<LayerRow> layer_rows(const std::string& model, const Network& network, const Quantizer& quantizer) {
  std::vector<LayerRow> rows;
  for (const int layer : weighted_layers(network)) {
    const auto& convolution = std::get<Convolution>(network.layers[layer].operation);
    const LayerGeometry geometry = layer_geometry(network, layer);
    const QuantizedWeights plain = quantizer(convolution.weights, convolution.filters, {}, {});
    double binary_terms = 0, signed_digit_terms = 0;
    for (const int value : plain.values) {
      binary_terms += count_terms(Encoding::binary, std::abs(value));
      signed_digit_terms += count_terms(Encoding::signed_digit, std::abs(value));
    }
    const Window& window = convolution.window;
    rows.push_back({.model = model,
                    .layer = geometry.name,
                    .index = std::int64_t(rows.size()),
                    .kind = geometry.fully_connected ? "fc" : "conv",
                    .filters = geometry.filters,
                    .channels = geometry.input.channels,
                    .groups = geometry.groups,
                    .kernel_h = window.kernel_h,
                    .kernel_w = window.kernel_w,
                    .stride_h = window.stride_h,
                    .stride_w = window.stride_w,
                    .output_h = geometry.output.height,
                    .output_w = geometry.output.width,
                    .weights = std::int64_t(convolution.weights.size()),
                    .macs = multiply_accumulates(network, layer),
                    .binary_terms_mean = binary_terms / double(plain.values.size()),
                    .signed_digit_terms_mean = signed_digit_terms / double(plain.values.size())});
  }
  return rows;
}

AcceleratorRow accelerator_row(const std::string& basis, const Accelerator& accelerator) {
  return {.basis = basis,
          .accelerator = accelerator.name,
          .design = std::string(accelerator.design->name),
          .lanes = accelerator.lanes,
          .rows = accelerator.rows,
          .columns = accelerator.columns,
          .tiles = accelerator.tiles,
          .slots_per_cycle = accelerator.slots_per_cycle(),
          .dense_products_per_cycle = accelerator.dense_products_per_cycle(),
          .clock_ghz = accelerator.clock_ghz,
          .weight_buffer = accelerator.weight_buffer,
          .activation_buffer = accelerator.activation_buffer,
          .off_chip_gbyte_per_s = accelerator.off_chip_gbyte_per_s,
          .term_pj = accelerator.term_energy,
          .lane_um2 = accelerator.lane_area,
          .array_mm2 = accelerator.array_mm2(),
          .buffer_mm2 = accelerator.buffer_mm2()};
}

EmulationRow emulation_row(EmulationRow row, const LayerEmulation& emulation) {
  row.cycles = emulation.cycles;
  row.compute_cycles = emulation.compute_cycles;
  row.memory_cycles = emulation.memory_cycles;
  row.utilisation = emulation.utilisation();
  row.slots = emulation.slots.total;
  row.useful = emulation.slots.useful;
  row.zero_bits_known = emulation.zero_bits_known;
  row.idle_edge = emulation.slots.edge;
  row.idle_lane = emulation.slots.lane;
  row.idle_row_column = emulation.slots.row_column;
  row.idle_null_term = emulation.slots.null_term;
  row.idle_memory = emulation.slots.memory;
  row.energy_pj = emulation.energy.total();
  row.energy_compute_pj = emulation.energy.compute;
  row.energy_on_chip_pj = emulation.energy.on_chip;
  row.energy_off_chip_pj = emulation.energy.off_chip;
  row.energy_leakage_pj = emulation.energy.leakage;
  row.weights_off_chip_bytes = emulation.traffic.weights_off_chip;
  row.activations_off_chip_bytes = emulation.traffic.activations_off_chip;
  row.weights_on_chip_bytes = emulation.traffic.weights_on_chip;
  row.activations_on_chip_bytes = emulation.traffic.activations_on_chip;
  return row;
}

}  // namespace bitcluster
