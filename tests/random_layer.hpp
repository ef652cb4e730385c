#pragma once

#include <cstdlib>
#include <random>
#include <string_view>

#include "tests/test_layer.hpp"

namespace bitcluster {

/// Number of nonzero digits, found digit by digit.
inline int count(Encoding encoding, int value) {
  int magnitude = std::abs(value), terms = 0;
  while (magnitude) {
    if (magnitude & 1) {
      ++terms;
      magnitude -= encoding == Encoding::signed_digit && (magnitude & 3) == 3 ? -1 : 1;
    }
    magnitude >>= 1;
  }
  return terms;
}

inline TestLayer random_layer(std::mt19937& random) {
  const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
  const int kind = pick(0, 4);  // dense, grouped, depthwise, fully connected vector, fully connected map
  Window window;
  Shape input = {pick(1, 20), pick(3, 7), pick(3, 7)};
  int groups = 1, filters = pick(1, 20);
  const bool fully_connected = kind >= 3;
  if (fully_connected) {
    if (kind == 3) input = {pick(1, 80), 1, 1};
    window.kernel_h = input.height;
    window.kernel_w = input.width;
  } else {
    window.kernel_h = pick(1, 3);
    window.kernel_w = pick(1, 3);
    window.stride_h = pick(1, 2);
    window.stride_w = pick(1, 3);
    window.pad_top = pick(0, 2);
    window.pad_left = pick(0, 2);
    window.pad_bottom = pick(0, 2);
    window.pad_right = pick(0, 2);
    if (input.height >= 5) window.dilation_h = pick(1, 2);
    if (input.width >= 5) window.dilation_w = pick(1, 2);
    if (kind == 1) {
      groups = pick(2, 4);
      input.channels = groups * pick(2, 6);
      filters = groups * pick(1, 6);
    } else if (kind == 2) {
      groups = input.channels = pick(2, 20);
      filters = groups * pick(1, 2);
    }
  }
  TestLayer layer = make_layer(filters, input, window, groups, fully_connected);
  layer.format.encoding = Encoding(pick(0, 1));
  const bool is_signed = pick(0, 1), sparse = pick(0, 1);
  for (auto& weight : layer.weights) weight = std::int16_t(sparse && pick(0, 2) ? 0 : pick(-127, 127));
  for (auto& value : layer.activations) {
    value = std::int16_t(sparse && pick(0, 2) ? 0 : is_signed ? pick(-127, 127) : pick(0, 255));
  }
  layer.format.terms = 1;
  for (const auto weight : layer.weights) {
    layer.format.terms = std::max(layer.format.terms, count(layer.format.encoding, weight));
  }
  if (pick(0, 3) == 0) ++layer.format.terms;  // N may be larger than any weight needs
  return layer;
}

inline Accelerator random_array(std::mt19937& random, std::string_view design) {
  const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
  Accelerator accelerator = array(design, pick(1, 20), pick(1, 6), pick(1, 20), pick(1, 3));
  accelerator.encoding = Encoding(pick(0, 1));
  accelerator.first_stage_shift = pick(0, 4);
  accelerator.bits_per_cycle = pick(1, 4);
  accelerator.search_shape = SearchShape(pick(0, 1));
  accelerator.fc_columns = FullyConnectedColumns(pick(0, 1));
  return accelerator;
}

}  // namespace bitcluster
