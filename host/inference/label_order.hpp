#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "host/inference/accuracy.hpp"

namespace bitcluster {

/// Why labels seem to be numbered in another order than the network's outputs, with examples; empty if they do not, or
/// if there are too few images to say. scores, labels: (images).
std::string label_order_doubt(std::span<const ImageScore> scores, std::span<const std::int32_t> labels, int classes);

}  // namespace bitcluster
