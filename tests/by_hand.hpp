#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/test_layer.hpp"

// Cycles worked out on paper from the rules: layers so small that every step can be followed.
// A brick is written between bars: 1 2 | 3 0 are two steps of two lanes. f is a filter, p a pixel, t a kernel position.
// Sums in the comments have one summand per step, in the order of time: pixel sets, filters, taps, channels.
// Pragmatic reaches two positions (S = 1): a lane drops its lowest term if that is at the lowest of all lanes or one
// above. Bits are counted from 0, and weights and activations have 4 bits where nothing else is said.

namespace bitcluster {

inline TestLayer four_bits(TestLayer layer, int terms) {
  layer.format.bits = layer.activation_bits = 4;
  layer.format.terms = terms;
  return layer;
}

inline Accelerator small_array(int lanes, int rows, int columns) {
  Accelerator accelerator = array("bit_parallel", lanes, rows, columns);
  accelerator.first_stage_shift = 1;
  return accelerator;
}

inline void expect_slots(const Slots& slots, const Slots& expected) {
  EXPECT_EQ(slots.useful, expected.useful);
  EXPECT_EQ(slots.edge, expected.edge);
  EXPECT_EQ(slots.lane, expected.lane);
  EXPECT_EQ(slots.row_column, expected.row_column);
  EXPECT_EQ(slots.null_term, expected.null_term);
  EXPECT_EQ(slots.total, expected.useful + expected.edge + expected.lane + expected.row_column + expected.null_term);
}

/// (channels, pixels) of activations written pixel by pixel.
inline std::vector<std::int16_t> from_pixels(const std::vector<std::vector<std::int16_t>>& pixels) {
  std::vector<std::int16_t> activations;
  for (std::size_t channel = 0; channel < pixels[0].size(); ++channel) {
    for (const auto& pixel : pixels) activations.push_back(pixel[channel]);
  }
  return activations;
}

}  // namespace bitcluster
