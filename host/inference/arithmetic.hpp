#pragma once

#include <cstdint>

#include "host/base/host_device.hpp"

/// The arithmetic of integer inference, element by element. Every backend uses these functions, or
/// instructions that give the same bits.
namespace bitcluster {

/// Range of a layer's output: integers where the output is 8 bits, real values where it is logits.
struct OutputRange {
  float low, high;
};

BITCLUSTER_DEVICE float clamp_to(float value, OutputRange range) {
  value = range.low > value ? range.low : value;
  return range.high < value ? range.high : value;
}

/// Clamps to the range, then rounds half to even. The bounds are integers within [-127, 255], so this equals clamping
/// the rounded value. In [2^23, 2^24) float32 has steps of 1: adding 1.5 * 2^23 rounds, and leaves the integer in the
/// low bits.
BITCLUSTER_DEVICE std::int32_t round_to_range(float value, OutputRange range) {
  constexpr float shift = 12582912.0f;
#ifdef __CUDA_ARCH__
  return __float_as_int(__fadd_rn(clamp_to(value, range), shift)) - 0x4b400000;
#else
  return __builtin_bit_cast(std::int32_t, clamp_to(value, range) + shift) - 0x4b400000;
#endif
}

/// Convolution and average pooling: the int32 sum (bias included) in units of the output.
BITCLUSTER_DEVICE float rescale(std::int32_t sum, float multiplier) { return multiply_rounded(float(sum), multiplier); }

/// Residual sum; both products are rounded to float32 before they are added.
BITCLUSTER_DEVICE float rescale_sum(std::int32_t a, float multiplier_a, std::int32_t b, float multiplier_b) {
  const float scaled_a = rescale(a, multiplier_a), scaled_b = rescale(b, multiplier_b);
#ifdef __CUDA_ARCH__
  return __fadd_rn(scaled_a, scaled_b);
#else
  return scaled_a + scaled_b;
#endif
}

/// Product of two tensors; a * b is exact in int32 and in float32.
BITCLUSTER_DEVICE float rescale_product(std::int32_t a, std::int32_t b, float multiplier) {
  return rescale(a * b, multiplier);
}

}  // namespace bitcluster
