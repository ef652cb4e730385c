#pragma once

#include <span>
#include <vector>

#include "host/cpu/kernels.hpp"
#include "host/inference/backend.hpp"
#include "host/weights/input_gram.hpp"

namespace bitcluster {

/// Gram matrices of the inputs of `layers` (indices of layers with weights, in rising order), for the reference weights
/// of `network`, which `backend` has loaded. Exact, whatever the kernels.
std::vector<InputGram> observe_grams(const Kernels& kernels, Backend& backend, const IntegerNetwork& network,
                                     std::span<const int> layers, ImageBatch images);

/// Bytes that observe_grams() takes for a layer.
std::size_t gram_bytes(const Network& network, int layer);

}  // namespace bitcluster
