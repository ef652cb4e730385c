#pragma once

#include <cstdint>
#include <vector>

#include "host/emulation/emulator.hpp"

namespace bitcluster {

/// What functional mode found.
struct LayerFunction {
  std::vector<std::int32_t> sums;   //!< (filters, oy, ox)
  std::int64_t compute_cycles = 0;  //!< counted while doing the work; equals that of emulate()
};

/// Whether a design has arithmetic of its own: all but bit-parallel; a peer simulator's setting has none.
bool has_arithmetic(const Accelerator& accelerator);

/// The integer convolution itself, (filters, oy, ox): what functional mode must give. Error if a sum does not fit
/// int32.
std::vector<std::int32_t> convolve(const LayerTensors& layer);

/// Functional mode: the design's own shift-and-add over its own terms, in its own order. The sums equal the integer
/// convolution exactly. Error for a design without arithmetic of its own (bit-parallel), for the setting of a peer
/// simulator, or if a sum does not fit int32.
LayerFunction emulate_function(const Accelerator& accelerator, const LayerTensors& layer);

}  // namespace bitcluster
