#pragma once

#include <cstdint>

#include "host/emulation/accelerator.hpp"
#include "host/emulation/layer.hpp"
#include "host/emulation/mapping.hpp"

namespace bitcluster {

/// Off-chip and on-chip traffic of one layer [byte], weights in the design's own encoded format, activations in the
/// layer's bits. Layers run one after another, nothing stays on chip between them. Off chip: weights and input are read
/// once and the output is written once if weights or input fit their buffer; else the better of keeping a bufferful of
/// weights (the input passes once per bufferful) and keeping a bufferful of input (the weights pass once per
/// bufferful), per group, rows shared by two bufferfuls not counted twice. On chip: what fills and drains the buffers,
/// the weights of every step, and the activations of every step, which all rows and tiles share.
struct Traffic {
  double weights_off_chip = 0, activations_off_chip = 0;
  double weights_on_chip = 0, activations_on_chip = 0;

  Traffic& operator+=(const Traffic& other);
};

/// Energy of one layer by part [pJ]: sum of action counts x energy per action.
struct Energy {
  double compute = 0, on_chip = 0, off_chip = 0, leakage = 0;
  double total() const { return compute + on_chip + off_chip + leakage; }

  Energy& operator+=(const Energy& other);
};

/// weight_bits: of all weights in memory.
Traffic traffic_of(const Accelerator& accelerator, const LayerTensors& layer, const Mapping& mapping,
                   double weight_bits);

/// terms: term operations executed, useful or not.
Energy energy_of(const Accelerator& accelerator, std::int64_t terms, std::int64_t cycles, const Traffic& traffic);

}  // namespace bitcluster
