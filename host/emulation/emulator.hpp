#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/emulation/accelerator.hpp"
#include "host/model/network.hpp"
#include "host/weights/format.hpp"

namespace bitcluster {

class Walker;

/// What the emulator needs to know of a layer's shape (one image).
struct LayerGeometry {
  std::string name;
  bool fully_connected = false;
  int filters = 0;
  int groups = 1;
  Window window;
  Shape input;   //!< unpadded
  Shape output;  //!< (filters, oy, ox); (filters, 1, 1) when fully connected

  int channels_per_group() const { return input.channels / groups; }
};

/// Error if the layer has no weights.
LayerGeometry layer_geometry(const Network& network, int layer);

/// One layer's integer tensors for one image.
struct LayerTensors {
  LayerGeometry geometry;
  std::span<const std::int16_t> weights;  //!< (filters, channels / groups, kernel_h, kernel_w), sign and magnitude
  WeightFormat weight_format;             //!< holds every weight; terms is the N of BitCluster
  std::span<const std::int16_t>
      activations;  //!< (channels, h, w), unpadded; empty where the design does not look at them
  int activation_bits = 8;
  bool activations_signed = false;
};

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
};

/// Off-chip and on-chip traffic of one layer [byte], weights in the design's own encoded format, activations in the
/// layer's bits. Layers run one after another, nothing stays on chip between them. Off chip: weights and input are read
/// once and the output is written once if weights or input fit their buffer; else the better of keeping a bufferful of
/// weights (the input passes once per bufferful) and keeping a bufferful of input (the weights pass once per
/// bufferful), per group, rows shared by two bufferfuls not counted twice. On chip: what fills and drains the buffers,
/// the weights of every step, and the activations of every step, which all rows and tiles share.
struct Traffic {
  double weights_off_chip = 0, activations_off_chip = 0;
  double weights_on_chip = 0, activations_on_chip = 0;
};

/// Energy of one layer by part [pJ]: sum of action counts x energy per action.
struct Energy {
  double compute = 0, on_chip = 0, off_chip = 0, leakage = 0;
  double total() const { return compute + on_chip + off_chip + leakage; }
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
/// cycles do not fit 64 bits. A walker (walk.hpp) takes over what it can; the result is the same.
LayerEmulation emulate(const Accelerator& accelerator, const LayerTensors& layer, Walker* walker = nullptr);

}  // namespace bitcluster
