#pragma once

#include <bit>
#include <cstdint>

#include "host/base/host_device.hpp"
#include "host/weights/format.hpp"

namespace bitcluster {

/// Positions of the nonzero digits of a magnitude (at most 2^16 - 1) in its encoding, as a bit mask. The non-adjacent
/// form of n is 3n - n, subtracted bit by bit and halved (Prodinger, Integers 0 (2000) A8): it is nonzero where n and
/// 3n differ.
BITCLUSTER_HOST_DEVICE constexpr std::uint32_t term_positions(Encoding encoding, std::uint32_t magnitude) {
  return encoding == Encoding::binary ? magnitude : (magnitude ^ (3 * magnitude)) >> 1;
}

BITCLUSTER_HOST_DEVICE constexpr int count_ones(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __popc(bits);
#else
  return std::popcount(bits);
#endif
}

/// Number of terms (effectual bits) of a magnitude, inline; count_terms() of quantize.hpp is the checked form.
BITCLUSTER_HOST_DEVICE constexpr int term_count(Encoding encoding, std::uint32_t magnitude) {
  return count_ones(term_positions(encoding, magnitude));
}

}  // namespace bitcluster
