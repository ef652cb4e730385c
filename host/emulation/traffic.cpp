#include "host/emulation/traffic.hpp"

#include <cmath>

namespace bitcluster {

Traffic& Traffic::operator+=(const Traffic& other) {
  weights_off_chip += other.weights_off_chip;
  activations_off_chip += other.activations_off_chip;
  weights_on_chip += other.weights_on_chip;
  activations_on_chip += other.activations_on_chip;
  return *this;
}

Energy& Energy::operator+=(const Energy& other) {
  compute += other.compute;
  on_chip += other.on_chip;
  off_chip += other.off_chip;
  leakage += other.leakage;
  return *this;
}

Traffic traffic_of(const Accelerator& accelerator, const LayerTensors& layer, const Mapping& mapping,
                   double weight_bits) {
  const LayerGeometry& geometry = layer.geometry;
  const double weights = weight_bits / 8;
  const double input = double(geometry.input.size()) * layer.activation_bits / 8;
  const double output = double(geometry.output.size()) * layer.activation_bits / 8;
  const double weight_passes = std::ceil(weights / geometry.groups / double(accelerator.weight_buffer));
  const double input_passes = std::ceil(input / geometry.groups / double(accelerator.activation_buffer));
  Traffic traffic;
  const bool keep_weights = weights + weight_passes * input <= input_passes * weights + input;
  traffic.weights_off_chip = keep_weights ? weights : input_passes * weights;
  traffic.activations_off_chip = (keep_weights ? weight_passes * input : input) + output;

  const double step_reads = mapping.depthwise
                                ? double(mapping.filters) * mapping.taps
                                : double(mapping.groups) * mapping.batches() * mapping.channels * mapping.taps;
  traffic.weights_on_chip = traffic.weights_off_chip + weights * double(mapping.pixel_sets());
  traffic.activations_on_chip =
      traffic.activations_off_chip + output + step_reads * double(mapping.pixels) * layer.activation_bits / 8;
  return traffic;
}

Energy energy_of(const Accelerator& accelerator, std::int64_t terms, std::int64_t cycles, const Traffic& traffic) {
  Energy energy;
  energy.compute = double(terms) * accelerator.term_energy;
  energy.on_chip = (traffic.weights_on_chip + traffic.activations_on_chip) * accelerator.on_chip_energy;
  energy.off_chip = (traffic.weights_off_chip + traffic.activations_off_chip) * accelerator.off_chip_energy;
  energy.leakage = double(cycles) * accelerator.leakage_energy;
  return energy;
}

}  // namespace bitcluster
