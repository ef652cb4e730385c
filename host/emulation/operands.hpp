#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "host/weights/format.hpp"

namespace bitcluster {

/// Operands come in runs of this many, so that a compiler can vectorise over them.
inline constexpr int operand_padding = 16;

/// What a design's rule sees of a value: a mask of term positions, a number of terms, a width. Indexed by the value as
/// std::uint16_t.
using OperandTable = std::vector<std::uint16_t>;
inline std::uint16_t operand(const OperandTable& table, std::int16_t value) { return table[std::uint16_t(value)]; }

template <class Function>
OperandTable make_table(Function&& of_value) {
  OperandTable table(1 << 16);
  for (int value = -32768; value <= 32767; ++value) table[std::uint16_t(value)] = std::uint16_t(of_value(value));
  return table;
}

inline std::uint32_t magnitude_of(int value) { return std::uint32_t(std::abs(value)); }

/// The terms of a magnitude: position p is in `plus` if +2^p is a term, in `minus` if -2^p is.
struct Terms {
  std::uint32_t plus = 0, minus = 0;
  std::uint32_t positions() const { return plus | minus; }
};
Terms terms_of(Encoding encoding, std::uint32_t magnitude);

/// Masks of term positions; made once per encoding.
const OperandTable& position_masks(Encoding encoding);

/// Numbers of terms; made once per encoding.
const OperandTable& term_counts(Encoding encoding);

/// Bits that a serial design spends on a value: up to its top one bit, at least 1; in a layer with signs a negative
/// value is taken below its two's complement sign, and the sign is one bit more.
inline int width_of(int value, bool is_signed) {
  const unsigned bits = unsigned(value < 0 ? -value - 1 : value);
  return std::max(1, int(std::bit_width(bits))) + (is_signed ? 1 : 0);
}

/// Bit positions that a first-stage shifter of Pragmatic reaches from the lowest pending one, as a mask.
std::uint32_t first_stage_reach(int first_stage_shift);

/// Number of ones, in operations that a compiler can vectorise.
inline std::uint16_t ones_of(std::uint16_t mask) {
  std::uint16_t pairs = std::uint16_t(mask - (mask >> 1 & 0x5555));
  pairs = std::uint16_t((pairs & 0x3333) + (pairs >> 2 & 0x3333));
  pairs = std::uint16_t((pairs + (pairs >> 4)) & 0x0f0f);
  return std::uint16_t((pairs + (pairs >> 8)) & 0x1f);
}

}  // namespace bitcluster
