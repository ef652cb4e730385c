#pragma once

#include <functional>
#include <span>
#include <vector>

#include "host/network.hpp"

namespace bitcluster {

/// Sees the output of every layer of one image, in order: layer index, values in (h, w, c) order. May be called from
/// several threads at once for different images.
using ActivationObserver = std::function<void(int image, int layer, std::span<const float> values)>;

/// Float32 inference, the reference that quantization is measured against. Sums run in a fixed order, so the logits do
/// not depend on the number of threads. images: (count, h, w, c) after preprocessing. Returns logits (count, classes).
std::vector<float> run_float(const Network& network, std::span<const float> images, int count,
                             const ActivationObserver& observer = {});

}  // namespace bitcluster
