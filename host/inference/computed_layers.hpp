#pragma once

#include <span>
#include <vector>

#include "host/inference/backend.hpp"

namespace bitcluster {

/// The layers that one walk through a network computes.
struct Pass {
  std::vector<char> computes;  //!< per layer
  std::vector<int> readers;    //!< per layer: how often its tensor is wanted, by layers of the pass or behind it
};

/// The changed layers and all that follows from them, as far as the logits depend on it. Error for a change that is not
/// one of a layer with weights.
Pass variant_pass(const Network& network, const Variant& variant);

/// The tensors that the variants do not compute themselves but need, kept until the variants are done.
Pass reference_pass(const Network& network, std::span<const Pass> variants);

/// The inputs of all layers with weights, kept.
Pass inputs_pass(const Network& network);

}  // namespace bitcluster
