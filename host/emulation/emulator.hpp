#pragma once

#include <cstdint>

#include "host/emulation/accelerator.hpp"
#include "host/emulation/layer.hpp"
#include "host/emulation/traffic.hpp"

namespace bitcluster {

class StepCounter;

/// Slots of one layer: Accelerator::slots_per_cycle() x cycles, each doing one term operation or idle for one cause.
/// useful + idle of all causes = total, exactly. Padding of the image counts as zeros that are
/// there. A useful term operation is: bit-parallel, a product of two operands that are there, whatever their values;
/// (Dynamic) Stripes, a one bit of an activation; Loom, a nonzero digit (of bits_per_cycle bits) of an activation on a
/// one bit of a weight; Pragmatic, a term of an activation;
/// Laconic, a pair of terms; Bit-Tactical, a bit or term of an activation that meets a nonzero weight; Pragmatic on
/// weights and BitCluster, a term of a weight; Bitlet, BitWave, BitVert, a bit of a weight.
struct Slots {
  std::int64_t total = 0;
  std::int64_t useful = 0;      //!< operations on effectual terms
  std::int64_t edge = 0;        //!< lanes, rows, columns or tiles without a value
  std::int64_t lane = 0;        //!< waiting for another lane of the same processing element
  std::int64_t row_column = 0;  //!< waiting for another row, column or tile, or for a brick to be dealt (FC, rotate)
  std::int64_t null_term = 0;   //!< spent on a term or bit that is zero; also the one cycle of an element without terms
  std::int64_t memory = 0;      //!< waiting for off-chip memory

  Slots& operator+=(const Slots& other);
};

struct LayerEmulation {
  std::int64_t cycles = 0;          //!< max(compute_cycles, memory_cycles)
  std::int64_t compute_cycles = 0;  //!< with data always there
  std::int64_t memory_cycles = 0;   //!< off-chip transfer alone
  Slots slots;
  bool zero_bits_known = true;  //!< false: Stripes without activations, all bits counted as useful (an upper bound)
  Traffic traffic;
  Energy energy;

  /// Adds another image (or layer): every number is a sum.
  LayerEmulation& operator+=(const LayerEmulation& other);

  double utilisation() const { return slots.total ? double(slots.useful) / double(slots.total) : 0; }
};

/// Emulates one layer for one image on one accelerator: a rule over every value of the tensors, not a sample.
/// A fully connected layer is one pixel with as many channels as its input has values; a depthwise one (one channel per
/// group) works on the diagonal of one tile: filter r on lane r of row r, min(lanes, rows) filters at a time. In the
/// setting of a peer simulator it does what the peer does; where a step then takes less than one cycle, so do its
/// slots. The result does not depend on the number of threads. Error if the accelerator has a fault, the tensors do not
/// fit the geometry, the values do not suit the design, the design needs activations and there are none, or slots x
/// cycles do not fit 64 bits. A counter (step_counter.hpp) takes over what it can; the result is the same.
LayerEmulation emulate(const Accelerator& accelerator, const LayerTensors& layer, StepCounter* counter = nullptr);

}  // namespace bitcluster
