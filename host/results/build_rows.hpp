#pragma once

#include <string>
#include <vector>

#include "host/cpu/quantize.hpp"
#include "host/emulation/accelerator.hpp"
#include "host/emulation/emulator.hpp"
#include "host/inference/integer_network.hpp"
#include "host/results/rows.hpp"

namespace bitcluster {

// Rows of results that several commands write.

/// Of every layer with weights. Weights in plain 8-bit integers give the mean numbers of terms.
std::vector<LayerRow> layer_rows(const std::string& model, const Network& network,
                                 const Quantizer& quantizer = quantize);

AcceleratorRow accelerator_row(const std::string& basis, const Accelerator& accelerator);

/// `names` says of what: everything up to and with `images`. The emulation is the sum over these images.
EmulationRow emulation_row(EmulationRow names, const LayerEmulation& emulation);

}  // namespace bitcluster
