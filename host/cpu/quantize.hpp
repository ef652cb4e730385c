#pragma once

#include <span>

#include "host/weights/format.hpp"

namespace bitcluster {

struct Kernels;

/// Rounds weights to the nearest magnitudes that their format allows (ties to the smaller), with the scales that
/// minimise the squared error over a fixed list of candidates, the same for every backend. weights: (filters, size /
/// filters). minimum_scales: empty, or per filter the least scale allowed (so that an int32 bias fits). Error for bits
/// outside 4..16, an impossible format, or weights that are not finite.
QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                          std::span<const float> minimum_scales = {});

/// The same with the kernels of one instruction set; all give the same bits.
QuantizedWeights quantize_with(const Kernels& kernels, std::span<const float> weights, int filters,
                               const WeightFormat& format, std::span<const float> minimum_scales = {});

}  // namespace bitcluster
