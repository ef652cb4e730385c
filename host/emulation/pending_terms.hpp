#pragma once

#include <cstdint>
#include <cstdlib>
#include <vector>

#include "host/emulation/operands.hpp"

namespace bitcluster {

inline std::int64_t power_of_two(int exponent) { return std::int64_t(1) << exponent; }

/// The terms of one operand that a lane of a design's arithmetic has not done yet.
struct PendingTerms {
  Terms terms;
  bool negative = false;

  PendingTerms(Encoding encoding, std::int16_t value)
      : terms(terms_of(encoding, magnitude_of(value))), negative(value < 0) {}
  std::uint32_t positions() const { return terms.positions(); }
  std::uint32_t lowest() const { return positions() & -positions(); }

  /// Takes a term away: its sign.
  int take(std::uint32_t term) {
    const int sign = ((terms.minus & term) != 0) != negative ? -1 : 1;
    terms.plus &= ~term;
    terms.minus &= ~term;
    return sign;
  }
};

inline std::vector<PendingTerms> pending_terms(Encoding encoding, const std::int16_t* values, int lanes) {
  std::vector<PendingTerms> pending;
  for (int l = 0; l < lanes; ++l) pending.emplace_back(encoding, values[l]);
  return pending;
}

}  // namespace bitcluster
