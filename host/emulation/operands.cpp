#include "host/emulation/operands.hpp"

#include <algorithm>
#include <array>
#include <bit>

namespace bitcluster {
namespace {

/// DNNsim's recoding: runs of three ones and more become two signed digits, shorter ones stay.
Terms booth_of_dnnsim(std::uint32_t magnitude) {
  Terms terms;
  bool run = false;
  for (int i = 15; i >= 0; --i) {
    const std::uint32_t bits = i >= 2 ? magnitude >> (i - 2) & 7 : magnitude << (2 - i) & 7;
    if (run) {
      if (bits == 0b010 || bits == 0b011 || bits == 0b100) terms.minus |= 1u << i;
      if (bits == 0b100) run = false;
    } else if (bits == 0b111) {
      terms.plus |= 1u << (i + 1);
      run = true;
    } else if (bits >= 0b100) {
      terms.plus |= 1u << i;
    }
  }
  return terms;
}

}  // namespace

Terms terms_of(Encoding encoding, std::uint32_t magnitude) {
  switch (encoding) {
    case Encoding::binary:
      return {magnitude, 0};
    case Encoding::signed_digit: {
      // Non-adjacent form (Reitwiesner 1960): the digits of 3m minus those of m, at half the weight.
      const std::uint32_t triple = 3 * magnitude;
      return {(triple & ~magnitude) >> 1, (~triple & magnitude) >> 1};
    }
    case Encoding::booth_dnnsim:
      return booth_of_dnnsim(magnitude);
  }
  std::abort();
}

std::uint32_t first_stage_reach(int first_stage_shift) { return (1u << (1 << first_stage_shift)) - 1; }

const OperandTable& position_masks(Encoding encoding) {
  static const auto make = [](Encoding of) {
    return make_table([of](int value) { return terms_of(of, magnitude_of(value)).positions(); });
  };
  static const std::array<OperandTable, 3> tables = {make(Encoding::binary), make(Encoding::signed_digit),
                                                     make(Encoding::booth_dnnsim)};
  return tables[std::size_t(encoding)];
}

const OperandTable& term_counts(Encoding encoding) {
  static const auto make = [](Encoding of) {
    OperandTable table = position_masks(of);
    for (std::uint16_t& entry : table) entry = std::uint16_t(std::popcount(entry));
    return table;
  };
  static const std::array<OperandTable, 3> tables = {make(Encoding::binary), make(Encoding::signed_digit),
                                                     make(Encoding::booth_dnnsim)};
  return tables[std::size_t(encoding)];
}

}  // namespace bitcluster
