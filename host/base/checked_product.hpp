#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

namespace bitcluster {

/// The product of extents, sizes or counts, as a file or a user gives them; nothing where it is above `most` (below
/// 2^64 - 1) or one of them is negative. Whatever the factors are, nothing overflows.
template <class Factors>
constexpr std::optional<std::uint64_t> checked_product(const Factors& factors, std::uint64_t most) {
  std::uint64_t product = 1;
  for (const auto factor : factors) {
    if (std::cmp_less(factor, 0)) return std::nullopt;
    if (__builtin_mul_overflow(product, std::uint64_t(factor), &product)) {
      product = std::numeric_limits<std::uint64_t>::max();  // stays above `most`, unless a factor is 0
    }
  }
  return product <= most ? std::optional(product) : std::nullopt;
}

}  // namespace bitcluster
