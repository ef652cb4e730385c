#pragma once

#include "harness/journal.hpp"
#include "host/accelerator.hpp"
#include "host/integer_network.hpp"

namespace bitcluster {

// Names of contents, so that a result is found again only if everything that decides it is the same.

/// Topology and float weights.
Key content_key(const Network& network);
/// The network, formats and preprocessing, without the integer weights.
Key content_key(const IntegerNetwork& network);
Key content_key(const QuantizedWeights& weights);
/// All but the name.
Key content_key(const Accelerator& accelerator);

}  // namespace bitcluster
