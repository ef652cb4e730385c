#pragma once

#include <span>

#include "host/weights/format.hpp"

namespace bitcluster {

/// quantize() on the current CUDA device: the same values and scales bit for bit, the same errors. Blocking.
QuantizedWeights quantize_on_device(std::span<const float> weights, int filters, const WeightFormat& format,
                                    std::span<const float> minimum_scales = {});

/// Device time of one call [s], for benchmarks.
struct QuantizationTimes {
  double quantization;  //!< without the copies from and to the host: reads 4 and writes 2 bytes per weight
  double copy;          //!< of 4 bytes per weight within the device: reads 4 and writes 4
};
QuantizationTimes time_quantization(std::span<const float> weights, int filters, const WeightFormat& format);

}  // namespace bitcluster
