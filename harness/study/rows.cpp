#include "harness/study/rows.hpp"

#include <cstdlib>
#include <variant>

#include "host/emulation/design.hpp"

namespace bitcluster {

void add_layers(const std::string& model, const Network& network, Results& results, const Quantizer& quantizer) {
  for (const int index : weighted_layers(network)) {
    const auto& convolution = std::get<Convolution>(network.layers[index].operation);
    const LayerGeometry geometry = layer_geometry(network, index);
    const QuantizedWeights plain = quantizer(convolution.weights, convolution.filters, {}, {});
    double terms[2] = {0, 0};
    for (const int value : plain.values) {
      terms[0] += count_terms(Encoding::binary, std::abs(value));
      terms[1] += count_terms(Encoding::signed_digit, std::abs(value));
    }
    const Window& window = convolution.window;
    results.layers.add(
        {model, geometry.name, std::int64_t(index), std::string(geometry.fully_connected ? "fc" : "conv"),
         std::int64_t(geometry.filters), std::int64_t(geometry.input.channels), std::int64_t(geometry.groups),
         std::int64_t(window.kernel_h), std::int64_t(window.kernel_w), std::int64_t(window.stride_h),
         std::int64_t(window.stride_w), std::int64_t(geometry.output.height), std::int64_t(geometry.output.width),
         std::int64_t(convolution.weights.size()), multiply_accumulates(network, index),
         terms[0] / double(plain.values.size()), terms[1] / double(plain.values.size())});
  }
}

void add_accelerators(const std::string& basis, const std::vector<Accelerator>& accelerators, Results& results) {
  for (const Accelerator& accelerator : accelerators) {
    results.accelerators.add({basis, accelerator.name, std::string(accelerator.design->name),
                              std::int64_t(accelerator.lanes), std::int64_t(accelerator.rows),
                              std::int64_t(accelerator.columns), std::int64_t(accelerator.tiles),
                              accelerator.slots_per_cycle(), accelerator.clock_ghz, accelerator.weight_buffer,
                              accelerator.activation_buffer, accelerator.off_chip_gbyte_per_s, accelerator.term_energy,
                              accelerator.lane_area, accelerator.array_mm2(), accelerator.buffer_mm2()});
  }
}

void add_emulation(const std::string& model, const std::string& assignment, const std::string& basis,
                   const Accelerator& accelerator, const std::string& layer, int images,
                   const LayerEmulation& emulation, Results& results) {
  const Slots& slots = emulation.slots;
  const Energy& energy = emulation.energy;
  const Traffic& traffic = emulation.traffic;
  results.emulation.add({model,
                         assignment,
                         basis,
                         accelerator.name,
                         layer,
                         std::int64_t(images),
                         emulation.cycles,
                         emulation.compute_cycles,
                         emulation.memory_cycles,
                         emulation.utilisation(),
                         slots.total,
                         slots.useful,
                         std::int64_t(emulation.zero_bits_known),
                         slots.edge,
                         slots.lane,
                         slots.row_column,
                         slots.null_term,
                         slots.memory,
                         energy.total(),
                         energy.compute,
                         energy.on_chip,
                         energy.off_chip,
                         energy.leakage,
                         traffic.weights_off_chip,
                         traffic.activations_off_chip,
                         traffic.weights_on_chip,
                         traffic.activations_on_chip});
}

}  // namespace bitcluster
