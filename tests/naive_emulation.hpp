#pragma once

// The emulator's naive reference: every slot of every step by itself, in lockstep.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/random_layer.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {

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

inline std::vector<int> positions(Encoding encoding, int value) {
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
inline int pragmatic_cycles(int shift, std::vector<std::vector<int>> pending) {
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
inline int width(int value, bool is_signed) {
  int bits = 1;
  while (is_signed ? value < -(1 << (bits - 1)) || value >= 1 << (bits - 1) : value >= 1 << bits) ++bits;
  return is_signed ? std::max(bits, 2) : bits;
}

/// The lanes of one processing element.
struct ElementValues {
  std::vector<Pair> present, bringing;
  bool is_signed = false;  // activations of the layer
};

inline Element bit_parallel_element(const Accelerator&, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  element.useful = element.slots;
  return element;
}

inline Element stripes_element(const Accelerator& accelerator, const TestLayer& layer, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  element.cycles = accelerator.precision ? accelerator.precision : layer.activation_bits;
  for (const Pair& pair : values.present) {
    element.useful += layer.activations.empty() ? element.cycles : count(Encoding::binary, pair.activation);
  }
  element.null_term = element.slots * element.cycles - element.useful;
  return element;
}

inline Element dynamic_stripes_element(const Accelerator&, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  for (const Pair& pair : values.bringing)
    element.cycles = std::max(element.cycles, width(pair.activation, values.is_signed));
  for (const Pair& pair : values.present) {
    const int useful = count(Encoding::binary, pair.activation);
    element.useful += useful;
    element.null_term += width(pair.activation, values.is_signed) - useful;
  }
  return element;
}

inline Element loom_element(const Accelerator& accelerator, const TestLayer& layer, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  const int weight_bits = layer.format.bits;
  const auto cycles = [&](int value) {
    return (width(value, values.is_signed) + accelerator.bits_per_cycle - 1) / accelerator.bits_per_cycle * weight_bits;
  };
  for (const Pair& pair : values.bringing) element.cycles = std::max(element.cycles, cycles(pair.activation));
  for (const Pair& pair : values.present) {
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

inline Element pragmatic_element(const Accelerator& accelerator, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  const bool weights = accelerator.design->name == "pragmatic_weights";
  std::vector<std::vector<int>> pending;
  for (const Pair& pair : weights ? values.present : values.bringing) {
    pending.push_back(positions(accelerator.encoding, weights ? pair.weight : pair.activation));
  }
  for (const Pair& pair : values.present) {
    element.useful += count(accelerator.encoding, weights ? pair.weight : pair.activation);
  }
  const int cycles = pragmatic_cycles(accelerator.first_stage_shift, pending);
  element.cycles = std::max(1, cycles);
  if (cycles == 0) element.null_term = element.slots;
  return element;
}

inline Element laconic_element(const Accelerator& accelerator, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  int most = 0;
  for (const Pair& pair : values.present) {
    const int pairs = count(accelerator.encoding, pair.weight) * count(accelerator.encoding, pair.activation);
    element.useful += pairs;
    most = std::max(most, pairs);
  }
  element.cycles = std::max(1, most);
  if (most == 0) element.null_term = element.slots;
  return element;
}

inline Element bitlet_element(const Accelerator& accelerator, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  int most = 0;
  element.slots = values.present.empty() ? 0 : accelerator.significances;
  for (int bit = 0; bit < accelerator.significances; ++bit) {
    int ones = 0;
    for (const Pair& pair : values.present) ones += std::abs(pair.weight) >> bit & 1;
    most = std::max(most, ones);
    element.useful += ones;
  }
  element.cycles = std::max(1, most);
  if (most == 0) element.null_term = element.slots;
  return element;
}

inline Element bitwave_element(const Accelerator&, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  int columns = 0;
  for (int bit = 0; bit < 15; ++bit) {
    int ones = 0;
    for (const Pair& pair : values.present) ones += std::abs(pair.weight) >> bit & 1;
    columns += ones > 0;
    element.useful += ones;
  }
  element.cycles = std::max(1, columns);
  element.null_term = element.cycles * element.slots - element.useful;
  return element;
}

inline Element bitvert_element(const Accelerator& accelerator, const TestLayer&, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  const int at_once = (accelerator.lanes + 1) / 2;
  element.slots = std::min(element.slots, at_once);
  int cycles = 0;
  for (int bit = 0; bit < 8; ++bit) {
    int ones = 0;
    for (const Pair& pair : values.present) ones += (pair.weight + 256) >> bit & 1;
    const int added = std::min(ones, int(values.present.size()) - ones);
    element.useful += added;
    cycles += (2 * added + accelerator.lanes - 1) / accelerator.lanes;
  }
  element.cycles = std::max(1, cycles);
  if (cycles == 0) element.null_term = element.slots;
  return element;
}

inline Element bitcluster_element(const Accelerator&, const TestLayer& layer, const ElementValues& values) {
  Element element;
  element.slots = int(values.present.size());
  element.cycles = layer.format.terms;
  for (const Pair& pair : values.present) element.useful += count(layer.format.encoding, pair.weight);
  element.null_term = element.slots * element.cycles - element.useful;
  return element;
}

using ElementRule = std::function<Element(const Accelerator&, const TestLayer&, const ElementValues&)>;

/// By design. None of Bit-Tactical, which has no step by itself: see test_tactical_schedule.cpp and test_peers.py.
inline const std::map<std::string_view, ElementRule>& element_rules() {
  static const std::map<std::string_view, ElementRule> rules = {{"bit_parallel", bit_parallel_element},
                                                                {"stripes", stripes_element},
                                                                {"dynamic_stripes", dynamic_stripes_element},
                                                                {"loom", loom_element},
                                                                {"pragmatic", pragmatic_element},
                                                                {"pragmatic_weights", pragmatic_element},
                                                                {"laconic", laconic_element},
                                                                {"bitlet", bitlet_element},
                                                                {"bitwave", bitwave_element},
                                                                {"bitvert", bitvert_element},
                                                                {"bitcluster", bitcluster_element}};
  return rules;
}

inline Element run_element(const Accelerator& accelerator, const TestLayer& layer, const std::vector<Pair>& lanes) {
  ElementValues values;
  values.is_signed = std::any_of(layer.activations.begin(), layer.activations.end(), [](int a) { return a < 0; });
  for (const Pair& pair : lanes) {
    if (pair.present) values.present.push_back(pair);
    if (pair.brings) values.bringing.push_back(pair);
  }
  return element_rules().at(accelerator.design->name)(accelerator, layer, values);
}

/// The layer on the array.
struct NaiveMapping {
  bool depthwise, rotate;
  int lanes, rows, columns, tiles;
  int groups, filters, channels, kernel_h, kernel_w, pixels, pixels_at_once, diagonal, filters_at_once;

  NaiveMapping(const Accelerator& accelerator, const LayerGeometry& g)
      : depthwise(g.groups > 1 && g.input.channels == g.groups),
        rotate(g.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate),
        lanes(accelerator.lanes),
        rows(accelerator.rows),
        columns(accelerator.columns),
        tiles(accelerator.tiles),
        groups(depthwise || g.fully_connected ? 1 : g.groups),
        filters(g.filters / groups),
        channels(g.fully_connected ? int(g.input.size()) : g.input.channels / g.groups),
        kernel_h(g.fully_connected ? 1 : g.window.kernel_h),
        kernel_w(g.fully_connected ? 1 : g.window.kernel_w),
        pixels(g.output.height * g.output.width),
        pixels_at_once(g.fully_connected ? 1 : columns),
        diagonal(std::min(lanes, rows)),
        filters_at_once(depthwise ? diagonal : rows * tiles) {}
};

/// What a step works on, from its first filter, pixel and channel on.
struct NaiveStep {
  int group, pixel, filter, ky, kx, channel;
};

/// The lanes of the processing element at row r of tile t and column c.
inline std::vector<Pair> pairs_of(const NaiveMapping& map, const TestLayer& layer, const NaiveStep& step, int t, int r,
                                  int c) {
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  std::vector<Pair> pairs(static_cast<std::size_t>(map.lanes));
  const int f = step.filter + t * map.rows + r, p = step.pixel + c;
  for (int l = 0; l < map.lanes; ++l) {
    if (f >= map.filters || p >= map.pixels) continue;
    if (map.depthwise && (r >= map.diagonal || t > 0 || l >= map.diagonal || step.filter + l >= map.filters)) continue;
    if (!map.depthwise && step.channel + l >= map.channels) continue;
    // on the diagonal, lane l brings the activation of filter l to all rows
    const int lane_filter = map.depthwise ? step.filter + l : f;
    const int weight_channel = map.depthwise ? 0 : step.channel + l;
    const int absolute_filter = step.group * map.filters + lane_filter;
    pairs[l].brings = true;
    pairs[l].present = !map.depthwise || l == r;
    pairs[l].weight =
        layer.weights[((absolute_filter * map.channels + weight_channel) * map.kernel_h + step.ky) * map.kernel_w +
                      step.kx];
    if (layer.activations.empty()) continue;
    if (g.fully_connected) {
      pairs[l].activation = layer.activations[weight_channel];
      continue;
    }
    const int input_channel =
        map.depthwise ? lane_filter / (g.filters / g.groups) : step.group * map.channels + step.channel + l;
    const int y = p / g.output.width * w.stride_h + step.ky * w.dilation_h - w.pad_top;
    const int x = p % g.output.width * w.stride_w + step.kx * w.dilation_w - w.pad_left;
    if (y < 0 || x < 0 || y >= g.input.height || x >= g.input.width) continue;
    pairs[l].activation = layer.activations[(input_channel * g.input.height + y) * g.input.width + x];
  }
  return pairs;
}

/// Adds the slots of one step, and returns its cycles.
inline int run_step(const Accelerator& accelerator, const NaiveMapping& map, const TestLayer& layer,
                    const NaiveStep& place, Slots& slots) {
  std::vector<Element> elements;
  int step = 1;
  for (int t = 0; t < map.tiles; ++t)
    for (int r = 0; r < map.rows; ++r)
      for (int c = 0; c < map.pixels_at_once; ++c) {
        elements.push_back(run_element(accelerator, layer, pairs_of(map, layer, place, t, r, c)));
        if (elements.back().slots > 0) step = std::max(step, elements.back().cycles);
      }
  for (const Element& element : elements) {
    slots.edge += std::int64_t(step) * (accelerator.slots_per_element() - element.slots);
    if (element.slots == 0) continue;
    slots.useful += element.useful;
    slots.null_term += element.null_term;
    slots.lane += element.cycles * element.slots - element.useful - element.null_term;
    slots.row_column += (step - element.cycles) * element.slots;
  }
  return step;
}

inline Naive emulate_naively(const Accelerator& accelerator, const TestLayer& layer) {
  const NaiveMapping map(accelerator, layer.geometry);
  const int columns = map.columns;
  Naive naive;
  std::vector<std::int64_t> finish(std::size_t(columns), 0);
  std::vector<char> used(std::size_t(columns), 0);
  std::int64_t now = 0, steps = 0, steps_cycles = 0;
  Slots& slots = naive.slots;
  for (int group = 0; group < map.groups; ++group)
    for (int pixel = 0; pixel < map.pixels; pixel += map.pixels_at_once)
      for (int filter = 0; filter < map.filters; filter += map.filters_at_once)
        for (int ky = 0; ky < map.kernel_h; ++ky)
          for (int kx = 0; kx < map.kernel_w; ++kx)
            for (int channel = 0; channel < (map.depthwise ? 1 : map.channels); channel += map.lanes) {
              const int step = run_step(accelerator, map, layer, {group, pixel, filter, ky, kx, channel}, slots);
              ++steps;
              steps_cycles += step;
              if (!map.rotate) continue;
              const std::size_t column = std::size_t((steps - 1) % columns);
              used[column] = 1;
              now = std::max(now, finish[column]);
              finish[column] = now + step;
              ++now;
            }
  naive.compute_cycles = map.rotate ? *std::max_element(finish.begin(), finish.end()) : steps_cycles;
  const std::int64_t per_column = std::int64_t(accelerator.slots_per_element()) * map.rows * map.tiles;
  if (map.rotate) {
    const std::int64_t used_columns = std::count(used.begin(), used.end(), 1);
    slots.row_column += per_column * (used_columns * naive.compute_cycles - steps_cycles);
    slots.edge += per_column * (columns - used_columns) * naive.compute_cycles;
  } else if (layer.geometry.fully_connected) {
    slots.edge += per_column * (columns - 1) * naive.compute_cycles;
  }
  slots.total = per_column * columns * naive.compute_cycles;
  return naive;
}

}  // namespace bitcluster
