#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <functional>
#include <map>
#include <random>
#include <stdexcept>

#include "host/base/parallel.hpp"
#include "host/emulation/emulator.hpp"
#include "host/emulation/shift_and_add.hpp"
#include "tests/expect_message.hpp"
#include "tests/random_layer.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

// ------------------------------------------------------------------ the naive reference: every slot by itself

/// A weight (or zero, if the filter has none there) and an activation on one lane of one processing element.
struct Pair {
  bool present = false;
  bool brings = false;  // an activation, maybe for other rows only (depthwise)
  int weight = 0, activation = 0;
};

struct Naive {
  std::int64_t compute_cycles = 0;
  Slots slots;
};

/// One processing element by itself.
struct Element {
  int cycles = 1;
  int slots = 0;  // that hold a value
  int useful = 0, null_term = 0;
};

std::vector<int> positions(Encoding encoding, int value) {
  std::vector<int> result;
  int magnitude = std::abs(value);
  for (int position = 0; magnitude; ++position) {
    if (magnitude & 1) {
      result.push_back(position);
      magnitude -= encoding == Encoding::signed_digit && (magnitude & 3) == 3 ? -1 : 1;
    }
    magnitude >>= 1;
  }
  return result;
}

/// Cycles of Pragmatic's two-stage shifting, with sets of pending positions, lowest first.
int pragmatic_cycles(int shift, std::vector<std::vector<int>> pending) {
  std::size_t left = 0;
  for (const auto& lane : pending) left += lane.size();
  int cycles = 0;
  for (; left > 0; ++cycles) {
    int lowest = 99;
    for (const auto& lane : pending) lowest = lane.empty() ? lowest : std::min(lowest, lane.front());
    for (auto& lane : pending) {
      if (!lane.empty() && lane.front() <= lowest + (1 << shift) - 1) {
        lane.erase(lane.begin());
        --left;
      }
    }
  }
  return cycles;
}

/// Bits of an activation that is taken bit by bit in two's complement.
int width(int value, bool is_signed) {
  int bits = 1;
  while (is_signed ? value < -(1 << (bits - 1)) || value >= 1 << (bits - 1) : value >= 1 << bits) ++bits;
  return is_signed ? std::max(bits, 2) : bits;
}

Element run_element(const Accelerator& accelerator, const TestLayer& layer, const std::vector<Pair>& lanes) {
  Element element;
  const bool is_signed = std::any_of(layer.activations.begin(), layer.activations.end(), [](int a) { return a < 0; });
  std::vector<Pair> present, bringing;
  for (const Pair& pair : lanes) {
    if (pair.present) present.push_back(pair);
    if (pair.brings) bringing.push_back(pair);
  }
  element.slots = int(present.size());
  int most = 0;
  switch (accelerator.design) {
    case Design::bit_parallel:
      element.useful = element.slots;
      return element;
    case Design::stripes:
      element.cycles = accelerator.precision ? accelerator.precision : layer.activation_bits;
      for (const Pair& pair : present) {
        element.useful += layer.activations.empty() ? element.cycles : count(Encoding::binary, pair.activation);
      }
      element.null_term = element.slots * element.cycles - element.useful;
      return element;
    case Design::bitcluster:
      element.cycles = layer.format.terms;
      for (const Pair& pair : present) element.useful += count(layer.format.encoding, pair.weight);
      element.null_term = element.slots * element.cycles - element.useful;
      return element;
    case Design::dynamic_stripes:
      for (const Pair& pair : bringing) element.cycles = std::max(element.cycles, width(pair.activation, is_signed));
      for (const Pair& pair : present) {
        const int useful = count(Encoding::binary, pair.activation);
        element.useful += useful;
        element.null_term += width(pair.activation, is_signed) - useful;
      }
      return element;
    case Design::loom: {
      const int weight_bits = layer.format.bits;
      const auto cycles = [&](int value) {
        return (width(value, is_signed) + accelerator.bits_per_cycle - 1) / accelerator.bits_per_cycle * weight_bits;
      };
      for (const Pair& pair : bringing) element.cycles = std::max(element.cycles, cycles(pair.activation));
      for (const Pair& pair : present) {
        int digits = 0;
        for (int left = std::abs(pair.activation); left > 0; left >>= accelerator.bits_per_cycle) {
          digits += left % (1 << accelerator.bits_per_cycle) != 0;
        }
        const int useful = digits * count(Encoding::binary, pair.weight);
        element.useful += useful;
        element.null_term += cycles(pair.activation) - useful;
      }
      return element;
    }
    case Design::laconic:
      for (const Pair& pair : present) {
        const int pairs = count(accelerator.encoding, pair.weight) * count(accelerator.encoding, pair.activation);
        element.useful += pairs;
        most = std::max(most, pairs);
      }
      element.cycles = std::max(1, most);
      if (most == 0) element.null_term = element.slots;
      return element;
    case Design::pragmatic:
    case Design::pragmatic_weights: {
      const bool weights = accelerator.design == Design::pragmatic_weights;
      std::vector<std::vector<int>> pending;
      for (const Pair& pair : weights ? present : bringing) {
        pending.push_back(positions(accelerator.encoding, weights ? pair.weight : pair.activation));
      }
      for (const Pair& pair : present) {
        element.useful += count(accelerator.encoding, weights ? pair.weight : pair.activation);
      }
      const int cycles = pragmatic_cycles(accelerator.first_stage_shift, pending);
      element.cycles = std::max(1, cycles);
      if (cycles == 0) element.null_term = element.slots;
      return element;
    }
    case Design::bitlet: {
      element.slots = present.empty() ? 0 : accelerator.significances;
      for (int bit = 0; bit < accelerator.significances; ++bit) {
        int ones = 0;
        for (const Pair& pair : present) ones += std::abs(pair.weight) >> bit & 1;
        most = std::max(most, ones);
        element.useful += ones;
      }
      element.cycles = std::max(1, most);
      if (most == 0) element.null_term = element.slots;
      return element;
    }
    case Design::bitwave: {
      int columns = 0;
      for (int bit = 0; bit < 15; ++bit) {
        int ones = 0;
        for (const Pair& pair : present) ones += std::abs(pair.weight) >> bit & 1;
        columns += ones > 0;
        element.useful += ones;
      }
      element.cycles = std::max(1, columns);
      element.null_term = element.cycles * element.slots - element.useful;
      return element;
    }
    case Design::bitvert: {
      const int at_once = (accelerator.lanes + 1) / 2;
      element.slots = std::min(element.slots, at_once);
      int cycles = 0;
      for (int bit = 0; bit < 8; ++bit) {
        int ones = 0;
        for (const Pair& pair : present) ones += (pair.weight + 256) >> bit & 1;
        const int added = std::min(ones, int(present.size()) - ones);
        element.useful += added;
        cycles += (2 * added + accelerator.lanes - 1) / accelerator.lanes;
      }
      element.cycles = std::max(1, cycles);
      if (cycles == 0) element.null_term = element.slots;
      return element;
    }
    case Design::tactical_p:
    case Design::tactical_e:
      break;  // no step by itself: see test_tactical_schedule.cpp and test_peers.py
  }
  throw std::logic_error("no naive rule");
}

Naive emulate_naively(const Accelerator& accelerator, const TestLayer& layer) {
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const bool depthwise = g.groups > 1 && g.input.channels == g.groups;
  const bool rotate = g.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  const int lanes = accelerator.lanes, rows = accelerator.rows, columns = accelerator.columns,
            tiles = accelerator.tiles;
  const int groups = depthwise || g.fully_connected ? 1 : g.groups;
  const int filters = g.filters / groups;
  const int channels = g.fully_connected ? int(g.input.size()) : g.input.channels / g.groups;
  const int kernel_h = g.fully_connected ? 1 : w.kernel_h, kernel_w = g.fully_connected ? 1 : w.kernel_w;
  const int pixels = g.output.height * g.output.width, pixels_at_once = g.fully_connected ? 1 : columns;
  const int diagonal = std::min(lanes, rows);
  const int filters_at_once = depthwise ? diagonal : rows * tiles;
  const int element_slots = accelerator.slots_per_element();
  Naive naive;
  std::vector<std::int64_t> finish(std::size_t(columns), 0);
  std::vector<char> used(std::size_t(columns), 0);
  std::int64_t now = 0, steps = 0, steps_cycles = 0;
  Slots& slots = naive.slots;
  for (int group = 0; group < groups; ++group)
    for (int pixel = 0; pixel < pixels; pixel += pixels_at_once)
      for (int filter = 0; filter < filters; filter += filters_at_once)
        for (int ky = 0; ky < kernel_h; ++ky)
          for (int kx = 0; kx < kernel_w; ++kx)
            for (int channel = 0; channel < (depthwise ? 1 : channels); channel += lanes) {
              std::vector<Element> elements;
              int step = 1;
              for (int t = 0; t < tiles; ++t)
                for (int r = 0; r < rows; ++r)
                  for (int c = 0; c < pixels_at_once; ++c) {
                    std::vector<Pair> pairs(static_cast<std::size_t>(lanes));
                    const int f = filter + t * rows + r, p = pixel + c;
                    for (int l = 0; l < lanes; ++l) {
                      if (f >= filters || p >= pixels) continue;
                      if (depthwise && (r >= diagonal || t > 0 || l >= diagonal || filter + l >= filters)) continue;
                      if (!depthwise && channel + l >= channels) continue;
                      // on the diagonal, lane l brings the activation of filter l to all rows
                      const int lane_filter = depthwise ? filter + l : f;
                      const int weight_channel = depthwise ? 0 : channel + l;
                      const int absolute_filter = group * filters + lane_filter;
                      pairs[l].brings = true;
                      pairs[l].present = !depthwise || l == r;
                      pairs[l].weight =
                          layer
                              .weights[((absolute_filter * channels + weight_channel) * kernel_h + ky) * kernel_w + kx];
                      if (layer.activations.empty()) continue;
                      if (g.fully_connected) {
                        pairs[l].activation = layer.activations[weight_channel];
                        continue;
                      }
                      const int input_channel =
                          depthwise ? lane_filter / (g.filters / g.groups) : group * channels + channel + l;
                      const int y = p / g.output.width * w.stride_h + ky * w.dilation_h - w.pad_top;
                      const int x = p % g.output.width * w.stride_w + kx * w.dilation_w - w.pad_left;
                      if (y < 0 || x < 0 || y >= g.input.height || x >= g.input.width) continue;
                      pairs[l].activation = layer.activations[(input_channel * g.input.height + y) * g.input.width + x];
                    }
                    elements.push_back(run_element(accelerator, layer, pairs));
                    if (elements.back().slots > 0) step = std::max(step, elements.back().cycles);
                  }
              for (const Element& element : elements) {
                slots.edge += std::int64_t(step) * (element_slots - element.slots);
                if (element.slots == 0) continue;
                slots.useful += element.useful;
                slots.null_term += element.null_term;
                slots.lane += element.cycles * element.slots - element.useful - element.null_term;
                slots.row_column += (step - element.cycles) * element.slots;
              }
              ++steps;
              steps_cycles += step;
              if (rotate) {
                const std::size_t column = std::size_t((steps - 1) % columns);
                used[column] = 1;
                now = std::max(now, finish[column]);
                finish[column] = now + step;
                ++now;
              }
            }
  naive.compute_cycles = rotate ? *std::max_element(finish.begin(), finish.end()) : steps_cycles;
  const std::int64_t per_column = std::int64_t(element_slots) * rows * tiles;
  if (rotate) {
    const std::int64_t used_columns = std::count(used.begin(), used.end(), 1);
    slots.row_column += per_column * (used_columns * naive.compute_cycles - steps_cycles);
    slots.edge += per_column * (columns - used_columns) * naive.compute_cycles;
  } else if (g.fully_connected) {
    slots.edge += per_column * (columns - 1) * naive.compute_cycles;
  }
  slots.total = per_column * columns * naive.compute_cycles;
  return naive;
}

void expect_slots_add_up(const LayerEmulation& result, const Accelerator& accelerator) {
  const Slots& s = result.slots;
  EXPECT_EQ(s.total, std::int64_t(accelerator.slots_per_element()) * accelerator.rows * accelerator.columns *
                         accelerator.tiles * result.cycles);
  EXPECT_EQ(s.useful + s.edge + s.lane + s.row_column + s.null_term + s.memory, s.total);
  for (const std::int64_t part : {s.useful, s.edge, s.lane, s.row_column, s.null_term, s.memory}) EXPECT_GE(part, 0);
}

void expect_equal(const LayerEmulation& result, const Naive& naive) {
  EXPECT_EQ(result.compute_cycles, naive.compute_cycles);
  EXPECT_EQ(result.slots.total, naive.slots.total);
  EXPECT_EQ(result.slots.useful, naive.slots.useful);
  EXPECT_EQ(result.slots.edge, naive.slots.edge);
  EXPECT_EQ(result.slots.lane, naive.slots.lane);
  EXPECT_EQ(result.slots.row_column, naive.slots.row_column);
  EXPECT_EQ(result.slots.null_term, naive.slots.null_term);
}

std::vector<std::int64_t> convolve(const TestLayer& layer) {
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const int per_group = g.input.channels / g.groups;
  std::vector<std::int64_t> sums(g.output.size(), 0);
  std::size_t out = 0;
  for (int f = 0; f < g.filters; ++f)
    for (int oy = 0; oy < g.output.height; ++oy)
      for (int ox = 0; ox < g.output.width; ++ox, ++out)
        for (int c = 0; c < per_group; ++c)
          for (int ky = 0; ky < w.kernel_h; ++ky)
            for (int kx = 0; kx < w.kernel_w; ++kx) {
              const int y = oy * w.stride_h + ky * w.dilation_h - w.pad_top;
              const int x = ox * w.stride_w + kx * w.dilation_w - w.pad_left;
              if (y < 0 || x < 0 || y >= g.input.height || x >= g.input.width) continue;
              const int channel = f / (g.filters / g.groups) * per_group + c;
              sums[out] += std::int64_t(layer.weights[((f * per_group + c) * w.kernel_h + ky) * w.kernel_w + kx]) *
                           layer.activations[(channel * g.input.height + y) * g.input.width + x];
            }
  return sums;
}

class EveryDesign : public testing::TestWithParam<Design> {};

TEST_P(EveryDesign, EqualsTheNaiveReferenceOnRandomLayers) {
  std::mt19937 random(7);
  for (int repeat = 0; repeat < 120; ++repeat) {
    SCOPED_TRACE(repeat);
    TestLayer layer = random_layer(random);
    const Accelerator accelerator = random_array(random, GetParam());
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    expect_equal(result, emulate_naively(accelerator, layer));
    expect_slots_add_up(result, accelerator);
    EXPECT_EQ(result.cycles, result.compute_cycles);
    if (HasFailure()) break;
  }
}

TEST_P(EveryDesign, DoesNotDependOnTheNumberOfThreads) {
  std::mt19937 random(8);
  const int threads = thread_count();
  for (int repeat = 0; repeat < 10; ++repeat) {
    const TestLayer layer = random_layer(random);
    const Accelerator accelerator = random_array(random, GetParam());
    std::vector<LayerEmulation> results;
    for (const int wanted : {1, 2, 5}) {
      set_thread_count(wanted);
      results.push_back(emulate(accelerator, layer.tensors()));
    }
    set_thread_count(threads);
    for (const LayerEmulation& result : results) {
      EXPECT_EQ(result.compute_cycles, results[0].compute_cycles);
      EXPECT_EQ(result.slots.useful, results[0].slots.useful);
      EXPECT_EQ(result.slots.lane, results[0].slots.lane);
      EXPECT_EQ(result.slots.row_column, results[0].slots.row_column);
      EXPECT_EQ(result.energy.total(), results[0].energy.total());
    }
  }
}

TEST_P(EveryDesign, WorksOnZerosAndPartialArrays) {
  Window window;
  window.kernel_h = 3;
  window.kernel_w = 2;
  window.stride_w = 2;
  for (const int tiles : {1, 2}) {
    const TestLayer layer = make_layer(5, {7, 6, 5}, window);  // all zero, 4 x 2 pixels
    const Accelerator accelerator = array(GetParam(), 4, 3, 3, tiles);
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    const int steps = 3 * (tiles == 1 ? 2 : 1) * 6 * 2;  // pixel sets, batches, taps, bricks
    std::map<Design, int> cycles = {{Design::stripes, 8}, {Design::bitcluster, 7}, {Design::loom, 8}};
    const int step = cycles.contains(GetParam()) ? cycles[GetParam()] : 1;
    EXPECT_EQ(result.compute_cycles, steps * step);
    EXPECT_EQ(result.slots.useful, GetParam() == Design::bit_parallel ? 5 * 7 * 6 * 8 : 0);
    if (accelerator.slots_per_element() == accelerator.lanes) {
      EXPECT_EQ(result.slots.edge, result.slots.total - std::int64_t(5) * 7 * 6 * 8 * step);
    }
    expect_slots_add_up(result, accelerator);
  }
}

std::string name_of(Design design) {
  std::string name;
  bool upper = true;
  for (const char letter : to_string(design)) {
    if (letter != '_') name += upper ? char(std::toupper(letter)) : letter;
    upper = letter == '_';
  }
  return name;
}

std::string design_name(const testing::TestParamInfo<Design>& info) { return name_of(info.param); }

INSTANTIATE_TEST_SUITE_P(Designs, EveryDesign,
                         testing::Values(Design::bit_parallel, Design::stripes, Design::dynamic_stripes, Design::loom,
                                         Design::pragmatic, Design::pragmatic_weights, Design::laconic, Design::bitlet,
                                         Design::bitwave, Design::bitvert, Design::bitcluster),
                         design_name);

// Designs whose steps depend on each other: cycles are those of functional mode and of the peer's rules
// (test_peers.py).
class RunAhead : public testing::TestWithParam<std::pair<Design, int>> {};

TEST_P(RunAhead, SlotsAddUpForAnyNumberOfThreads) {
  std::mt19937 random(9);
  const int threads = thread_count();
  const auto [design, registers] = GetParam();
  for (int repeat = 0; repeat < 60; ++repeat) {
    SCOPED_TRACE(repeat);
    const TestLayer layer = random_layer(random);
    Accelerator accelerator = random_array(random, design);
    accelerator.column_registers = registers;
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    expect_slots_add_up(result, accelerator);
    set_thread_count(3);
    const LayerEmulation again = emulate(accelerator, layer.tensors());
    set_thread_count(threads);
    EXPECT_EQ(again.compute_cycles, result.compute_cycles);
    EXPECT_EQ(again.slots.lane, result.slots.lane);
    EXPECT_EQ(again.slots.row_column, result.slots.row_column);
    EXPECT_EQ(again.energy.total(), result.energy.total());
    // what is useful does not depend on who waits: it is that of the design in lockstep, without zero weights for TCL
    Accelerator lockstep = accelerator;
    lockstep.column_registers = 0;
    const LayerEmulation waiting = emulate(lockstep, layer.tensors());
    EXPECT_EQ(waiting.slots.useful, result.slots.useful);
    EXPECT_EQ(waiting.slots.null_term, result.slots.null_term);
    EXPECT_EQ(waiting.slots.lane, result.slots.lane);
    EXPECT_GE(waiting.compute_cycles, result.compute_cycles);
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Designs, RunAhead,
                         testing::Values(std::pair(Design::dynamic_stripes, 1), std::pair(Design::pragmatic, 1),
                                         std::pair(Design::pragmatic, 4), std::pair(Design::tactical_p, 0),
                                         std::pair(Design::tactical_p, 2), std::pair(Design::tactical_e, 0),
                                         std::pair(Design::tactical_e, 1)),
                         [](const auto& info) {
                           return name_of(info.param.first) + std::to_string(info.param.second);
                         });

// DNNsim's closed forms (Stripes, Laconic with binary terms) on a square ungrouped layer in its array of 16x16x16.
TEST(Peers, StripesAndLaconicInLockstep) {
  std::mt19937 random(5);
  Window window;
  window.kernel_h = window.kernel_w = 3;
  TestLayer layer = make_layer(40, {20, 9, 9}, window);
  for (auto& weight : layer.weights) weight = std::int16_t(int(random() % 255) - 127);
  for (auto& value : layer.activations) value = std::int16_t(random() % 256 * (random() % 2));
  Accelerator accelerator = array(Design::stripes, 16, 16, 16, 2);
  const std::int64_t window_sets = 4, filter_batches = 2, time = 9 * 2;  // ceil(49/16), ceil(3 sets/2), taps x bricks
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, window_sets * filter_batches * time * 8);
  // Laconic: max over lanes of (largest term count of the lane's weights) x (largest of its activations), at least 1
  std::int64_t cycles = 0;
  for (int set = 0; set < 4; ++set)
    for (int batch = 0; batch < 2; ++batch)
      for (int tap = 0; tap < 9; ++tap)
        for (int brick = 0; brick < 2; ++brick) {
          int step = 1;
          for (int channel = brick * 16; channel < std::min(20, brick * 16 + 16); ++channel) {
            int weight_terms = 0, activation_terms = 0;
            for (int f = batch * 32; f < std::min(40, batch * 32 + 32); ++f) {
              weight_terms =
                  std::max(weight_terms, count(Encoding::binary, layer.weights[(f * 20 + channel) * 9 + tap]));
            }
            for (int p = set * 16; p < std::min(49, set * 16 + 16); ++p) {
              const int y = p / 7 + tap / 3, x = p % 7 + tap % 3;
              activation_terms =
                  std::max(activation_terms, count(Encoding::binary, layer.activations[(channel * 9 + y) * 9 + x]));
            }
            step = std::max(step, weight_terms * activation_terms);
          }
          cycles += step;
        }
  accelerator.design = Design::laconic;
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, cycles);
}

// ------------------------------------------------------------------ memory and energy

TEST(Memory, CountsRereadsAndWaits) {
  // 8 filters, 16 channels, 4x4 pixels: 128 weight bytes, 256 input bytes, 128 output bytes
  TestLayer layer = make_layer(8, {16, 4, 4});
  Accelerator accelerator = array(Design::bit_parallel, 16, 8, 1);
  accelerator.off_chip_gbyte_per_s = 4;
  accelerator.clock_ghz = 0.5;  // 8 byte per cycle
  LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip, 128);
  EXPECT_EQ(result.traffic.activations_off_chip, 256 + 128);
  EXPECT_EQ(result.traffic.weights_on_chip, 128 + 16 * 128);                   // filled once, read for every pixel
  EXPECT_EQ(result.traffic.activations_on_chip, (256 + 128) + 128 + 16 * 16);  // filled, drained, written, read
  EXPECT_EQ(result.compute_cycles, 16);
  EXPECT_EQ(result.memory_cycles, 64);
  EXPECT_EQ(result.cycles, 64);
  EXPECT_EQ(result.slots.memory, 128 * (64 - 16));
  expect_slots_add_up(result, accelerator);

  accelerator.weight_buffer = 64;  // weights need two passes, but the input fits: nothing is read twice
  EXPECT_EQ(emulate(accelerator, layer.tensors()).memory_cycles, 64);
  accelerator.activation_buffer = 100;  // 3 passes: 128 + 2 x 256 with weights kept, 256 + 3 x 128 with input kept
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip + result.traffic.activations_off_chip, 640 + 128);
  accelerator.weight_buffer = 32;  // 128 + 4 x 256 with weights kept: now the input is
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip, 3 * 128);
  EXPECT_EQ(result.traffic.activations_off_chip, 256 + 128);
  accelerator.activation_buffer = 10;  // 26 passes of the weights: now the weights are kept
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip, 128);
  EXPECT_EQ(result.traffic.activations_off_chip, 4 * 256 + 128);
}

TEST(Memory, BitClusterMovesItsOwnFormat) {
  TestLayer layer = make_layer(8, {16, 1, 1});
  layer.format.terms = 2;  // 7 bits
  EXPECT_EQ(emulate(array(Design::bitcluster, 16, 8, 1), layer.tensors()).traffic.weights_off_chip, 128 * 7 / 8);
  EXPECT_EQ(emulate(array(Design::pragmatic_weights, 16, 8, 1), layer.tensors()).traffic.weights_off_chip, 128);
}

TEST(EnergyOfALayer, IsTheSumOfActions) {
  TestLayer layer = make_layer(8, {16, 4, 4});
  layer.weights.assign(layer.weights.size(), 5);
  layer.format.terms = 3;
  Accelerator accelerator = array(Design::bitcluster, 32, 8, 1);
  accelerator.term_energy = 0.5;
  accelerator.on_chip_energy = 2;
  accelerator.off_chip_energy = 100;
  accelerator.leakage_energy = 1000;
  const LayerEmulation result = emulate(accelerator, layer.tensors());
  // 128 weights x 16 pixels x 3 cycles, null terms included, idle lanes not
  EXPECT_DOUBLE_EQ(result.energy.compute, 128 * 16 * 3 * 0.5);
  EXPECT_DOUBLE_EQ(result.energy.off_chip, (128 + 256 + 128) * 100);
  EXPECT_DOUBLE_EQ(result.energy.on_chip, (128 + 16 * 128 + 256 + 128 + 128 + 16 * 16) * 2);
  EXPECT_DOUBLE_EQ(result.energy.leakage, 16 * 3 * 1000);
  EXPECT_DOUBLE_EQ(result.energy.total(),
                   result.energy.compute + result.energy.off_chip + result.energy.on_chip + result.energy.leakage);
  EXPECT_DOUBLE_EQ(result.utilisation(), 2.0 / 3 / 2);  // two of three terms, half of the lanes
}

// ------------------------------------------------------------------ functional mode

class Functional : public testing::TestWithParam<Design> {};

TEST_P(Functional, GivesTheConvolutionAndTheCycles) {
  std::mt19937 random(11);
  for (int repeat = 0; repeat < 80; ++repeat) {
    SCOPED_TRACE(repeat);
    const TestLayer layer = random_layer(random);
    Accelerator accelerator = random_array(random, GetParam());
    const bool ahead = GetParam() == Design::dynamic_stripes || GetParam() == Design::pragmatic ||
                       GetParam() == Design::tactical_p || GetParam() == Design::tactical_e;
    if (ahead) accelerator.column_registers = repeat % 3;
    const LayerFunction function = emulate_function(accelerator, layer.tensors());
    const std::vector<std::int64_t> expected = convolve(layer);
    ASSERT_TRUE(std::equal(function.sums.begin(), function.sums.end(), expected.begin(), expected.end()));
    ASSERT_EQ(convolve(layer.tensors()), function.sums);
    ASSERT_EQ(function.compute_cycles, emulate(accelerator, layer.tensors()).compute_cycles);
  }
}

INSTANTIATE_TEST_SUITE_P(Designs, Functional,
                         testing::Values(Design::stripes, Design::dynamic_stripes, Design::loom, Design::pragmatic,
                                         Design::pragmatic_weights, Design::laconic, Design::tactical_p,
                                         Design::tactical_e, Design::bitlet, Design::bitwave, Design::bitvert,
                                         Design::bitcluster),
                         design_name);

TEST(FunctionalErrors, RejectsDesignsWithoutArithmeticAndOverflow) {
  TestLayer layer = make_layer(1, {3, 1, 1});
  EXPECT_NE(
      message_of([&] { emulate_function(array(Design::bit_parallel, 4, 4, 1), layer.tensors()); }).find("arithmetic"),
      std::string::npos);
  layer.weights.assign(3, 32767);
  layer.activations.assign(3, 32767);
  EXPECT_NE(
      message_of([&] { emulate_function(array(Design::pragmatic_weights, 4, 4, 1), layer.tensors()); }).find("int32"),
      std::string::npos);
  layer.activations.clear();
  EXPECT_NE(message_of([&] {
              emulate_function(array(Design::pragmatic_weights, 4, 4, 1), layer.tensors());
            }).find("activations"),
            std::string::npos);
}

// ------------------------------------------------------------------ errors

TEST(Errors, NameTheLayerAndTheReason) {
  TestLayer layer = make_layer(2, {4, 3, 3});
  const auto message = [&](Design design) {
    return message_of([&] { emulate(array(design, 4, 4, 4), layer.tensors()); });
  };
  EXPECT_EQ(message(Design::laconic), "");
  layer.activations.clear();
  EXPECT_NE(message(Design::laconic).find("'layer'"), std::string::npos);
  EXPECT_NE(message(Design::laconic).find("depend on the activations"), std::string::npos);
  EXPECT_EQ(message(Design::bitcluster), "");
  layer.format.terms = 0;
  EXPECT_NE(message(Design::bitcluster).find("no fixed number of terms"), std::string::npos);
  layer.format.terms = 2;
  layer.weights[3] = -7;
  EXPECT_NE(message(Design::bitcluster).find("weight -7 has 3 terms where N is 2"), std::string::npos);
  layer.format.encoding = Encoding::signed_digit;  // -7 = -8 + 1
  EXPECT_EQ(message(Design::bitcluster), "");
  layer.weights.pop_back();
  EXPECT_NE(message(Design::bit_parallel).find("number of weights"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.activations.pop_back();
  EXPECT_NE(message(Design::bit_parallel).find("number of activations"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.geometry.groups = 3;
  EXPECT_NE(message(Design::bit_parallel).find("groups"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.geometry.output.height = 2;
  EXPECT_NE(message(Design::bit_parallel).find("output shape"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.geometry.fully_connected = true;
  EXPECT_NE(message(Design::bit_parallel).find("fully connected"), std::string::npos);
}

TEST(Geometry, ComesFromTheNetwork) {
  Network network;
  network.layers.push_back({"image", Input(), {}, {3, 8, 6}});
  Convolution convolution;
  convolution.filters = 4;
  convolution.window.kernel_h = 3;
  convolution.weights.assign(4 * 3 * 3, 1);
  network.layers.push_back({"conv", convolution, {0}, {4, 6, 6}});
  const LayerGeometry geometry = layer_geometry(network, 1);
  EXPECT_EQ(geometry.name, "conv");
  EXPECT_EQ(geometry.input, (Shape{3, 8, 6}));
  EXPECT_EQ(geometry.output, (Shape{4, 6, 6}));
  EXPECT_EQ(geometry.window, convolution.window);
  EXPECT_NE(message_of([&] { layer_geometry(network, 0); }).find("no weights"), std::string::npos);
}

}  // namespace
}  // namespace bitcluster
