#pragma once

#include <string>

#include "host/emulation/accelerator.hpp"
#include "host/emulation/emulator.hpp"
#include "host/inference/integer_network.hpp"
#include "host/results/file.hpp"

namespace bitcluster {

// Rows of results that several commands write.

/// Rows of /layers for one model. Weights in plain 8-bit integers give the mean numbers of terms.
void add_layers(const std::string& model, const Network& network, Results& results,
                const Quantizer& quantizer = quantize);

/// Rows of /accelerators for one basis of comparison.
void add_accelerators(const std::string& basis, const std::vector<Accelerator>& accelerators, Results& results);

/// One row of /emulation; the emulation is the sum over `images` images.
void add_emulation(const std::string& model, const std::string& assignment, const std::string& basis,
                   const Accelerator& accelerator, const std::string& layer, int images,
                   const LayerEmulation& emulation, Results& results);

}  // namespace bitcluster
