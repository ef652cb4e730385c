#include "host/emulation/shift_and_add.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <functional>
#include <numeric>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/emulation/column_clock.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/tactical_schedule.hpp"

namespace bitcluster {
namespace {

/// Adds the products of one brick to `sum` by the design's own shift-and-add, cycle by cycle, and returns the cycles
/// that the processing element took.
using BrickArithmetic =
    std::function<int(const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum)>;

std::int64_t power(int exponent) { return std::int64_t(1) << exponent; }

/// The terms of one operand that a lane has not done yet.
struct PendingTerms {
  Terms terms;
  bool negative = false;

  PendingTerms(Encoding encoding, std::int16_t value)
      : terms(terms_of(encoding, std::uint32_t(std::abs(int(value))))), negative(value < 0) {}
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

std::vector<PendingTerms> pending_terms(Encoding encoding, const std::int16_t* values, int lanes) {
  std::vector<PendingTerms> pending;
  for (int l = 0; l < lanes; ++l) pending.emplace_back(encoding, values[l]);
  return pending;
}

/// Stripes: a bit of every magnitude per cycle.
int stripes_arithmetic(int bits, const std::int16_t* weights, const std::int16_t* activations, int lanes,
                       std::int64_t& sum) {
  for (int bit = 0; bit < bits; ++bit) {
    std::int64_t tree = 0;
    for (int l = 0; l < lanes; ++l) {
      if (std::abs(int(activations[l])) >> bit & 1) tree += activations[l] < 0 ? -weights[l] : weights[l];
    }
    sum += tree * power(bit);
  }
  return bits;
}

/// Dynamic Stripes and Loom: digits of the activations in two's complement, as many as the widest needs; Loom (weight
/// bits above 0) meets every digit with every bit of the weights.
int widest_arithmetic(bool is_signed, int bits_per_digit, int weight_bits, const std::int16_t* weights,
                      const std::int16_t* activations, int lanes, std::int64_t& sum) {
  int width = 1;
  for (int l = 0; l < lanes; ++l) width = std::max(width, width_of(activations[l], is_signed));
  const int digits = int(ceil_div(width, bits_per_digit));
  int cycles = 0;
  for (int digit = 0; digit < digits; ++digit) {
    // the highest digit carries the sign
    const auto value = [&](int l) {
      const int shifted = activations[l] >> (digit * bits_per_digit);
      return digit == digits - 1 ? shifted : shifted & ((1 << bits_per_digit) - 1);
    };
    for (int bit = 0; bit < std::max(1, weight_bits); ++bit, ++cycles) {
      std::int64_t tree = 0;
      for (int l = 0; l < lanes; ++l) {
        if (weight_bits == 0) {
          tree += std::int64_t(value(l)) * weights[l];
        } else if (weights[l] >> bit & 1) {
          tree += value(l);
        }
      }
      const bool sign_bit = weight_bits > 0 && bit == weight_bits - 1;
      sum += tree * power(digit * bits_per_digit + (weight_bits > 0 ? bit : 0)) * (sign_bit ? -1 : 1);
    }
  }
  return cycles;
}

/// Pragmatic: two-stage shifting over the terms of the serial operand.
int pragmatic_arithmetic(Encoding encoding, int first_stage_shift, const std::int16_t* serial,
                         const std::int16_t* parallel, int lanes, std::int64_t& sum) {
  std::vector<PendingTerms> pending = pending_terms(encoding, serial, lanes);
  for (int cycles = 0;; ++cycles) {
    std::uint32_t any = 0;
    for (const PendingTerms& lane : pending) any |= lane.positions();
    if (!any) return std::max(cycles, 1);
    const int lowest = std::countr_zero(any);
    const std::uint32_t window = first_stage_reach(first_stage_shift) << lowest;
    std::int64_t tree = 0;  // what the adder tree gives in this cycle, before the second stage shifts it
    for (int l = 0; l < lanes; ++l) {
      const std::uint32_t term = pending[l].lowest() & window;
      if (!term) continue;
      tree += pending[l].take(term) * parallel[l] * power(std::countr_zero(term) - lowest);
    }
    sum += tree * power(lowest);
  }
}

/// Laconic: one pair of terms per lane and cycle, as the sum of their exponents.
int laconic_arithmetic(Encoding encoding, const std::int16_t* weights, const std::int16_t* activations, int lanes,
                       std::int64_t& sum) {
  int longest = 1;
  for (int l = 0; l < lanes; ++l) {
    int cycles = 0;
    for (PendingTerms weight(encoding, weights[l]); weight.positions();) {
      const std::uint32_t weight_term = weight.lowest();
      const int weight_sign = weight.take(weight_term);
      for (PendingTerms activation(encoding, activations[l]); activation.positions(); ++cycles) {
        const std::uint32_t term = activation.lowest();
        sum += weight_sign * activation.take(term) * power(std::countr_zero(weight_term) + std::countr_zero(term));
      }
    }
    longest = std::max(longest, cycles);
  }
  return longest;
}

/// Bitlet: every significance goes through the weights that have its bit, one per cycle.
int bitlet_arithmetic(int significances, const std::int16_t* weights, const std::int16_t* activations, int lanes,
                      std::int64_t& sum) {
  int longest = 1;
  for (int position = 0; position < significances; ++position) {
    int cycles = 0;
    for (int l = 0; l < lanes; ++l) {
      if (!(std::abs(int(weights[l])) >> position & 1)) continue;
      sum += (weights[l] < 0 ? -1 : 1) * std::int64_t(activations[l]) * power(position);
      ++cycles;
    }
    longest = std::max(longest, cycles);
  }
  return longest;
}

/// BitWave: one nonzero column of magnitude bits per cycle.
int bitwave_arithmetic(const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum) {
  int cycles = 0;
  for (int position = 0; position < 16; ++position) {
    std::int64_t tree = 0;
    bool any = false;
    for (int l = 0; l < lanes; ++l) {
      if (!(std::abs(int(weights[l])) >> position & 1)) continue;
      any = true;
      tree += weights[l] < 0 ? -activations[l] : activations[l];
    }
    cycles += any;
    sum += tree * power(position);
  }
  return std::max(cycles, 1);
}

/// BitVert: columns of two's complement bits; a column with more ones adds the zeros' activations and subtracts them
/// from the sum of all.
int bitvert_arithmetic(int bits, int array_lanes, const std::int16_t* weights, const std::int16_t* activations,
                       int lanes, std::int64_t& sum) {
  const std::int64_t all = std::accumulate(activations, activations + lanes, std::int64_t(0));
  int cycles = 0;
  for (int position = 0; position < bits; ++position) {
    std::int64_t tree[2] = {0, 0};
    int count[2] = {0, 0};
    for (int l = 0; l < lanes; ++l) {
      const int bit = weights[l] >> position & 1;
      tree[bit] += activations[l];
      ++count[bit];
    }
    const bool inverted = count[1] > count[0];
    cycles += int(ceil_div(2 * std::min(count[0], count[1]), array_lanes));
    const std::int64_t column = inverted ? all - tree[0] : tree[1];
    sum += column * power(position) * (position == bits - 1 ? -1 : 1);
  }
  return std::max(cycles, 1);
}

/// BitCluster: one term of every weight per cycle, N cycles whatever the weights are.
int bitcluster_arithmetic(const WeightFormat& format, const std::int16_t* weights, const std::int16_t* activations,
                          int lanes, std::int64_t& sum) {
  std::vector<PendingTerms> pending = pending_terms(format.encoding, weights, lanes);
  for (int cycle = 0; cycle < format.terms; ++cycle) {
    std::int64_t tree = 0;
    for (int l = 0; l < lanes; ++l) {
      const std::uint32_t term = pending[l].lowest();
      if (!term) continue;  // null term
      tree += pending[l].take(term) * activations[l] * power(std::countr_zero(term));
    }
    sum += tree;
  }
  return format.terms;
}

/// Empty for a design without arithmetic of its own.
BrickArithmetic brick_arithmetic(const Accelerator& accelerator, const LayerTensors& layer) {
  const WeightFormat& format = layer.weight_format;
  const auto with = [](auto&& function) {
    return [function](const std::int16_t* weights, const std::int16_t* activations, int lanes, std::int64_t& sum) {
      return function(weights, activations, lanes, sum);
    };
  };
  const Encoding encoding = accelerator.encoding;
  const int shift = accelerator.first_stage_shift;
  switch (accelerator.design) {
    case Design::bit_parallel:
      return {};
    case Design::stripes:
      return with([bits = accelerator.precision ? accelerator.precision : layer.activation_bits](auto&&... rest) {
        return stripes_arithmetic(bits, rest...);
      });
    case Design::dynamic_stripes:
    case Design::tactical_p:
      return with([is_signed = layer.activations_signed](auto&&... rest) {
        return widest_arithmetic(is_signed, 1, 0, rest...);
      });
    case Design::loom:
      return with([is_signed = layer.activations_signed, at_once = accelerator.bits_per_cycle,
                   bits = accelerator.weight_bits ? accelerator.weight_bits : format.bits](auto&&... rest) {
        return widest_arithmetic(is_signed, at_once, bits, rest...);
      });
    case Design::pragmatic:
    case Design::tactical_e:
      return [encoding, shift](const std::int16_t* weights, const std::int16_t* activations, int lanes,
                               std::int64_t& sum) {
        return pragmatic_arithmetic(encoding, shift, activations, weights, lanes, sum);
      };
    case Design::pragmatic_weights:
      return with([encoding, shift](auto&&... rest) { return pragmatic_arithmetic(encoding, shift, rest...); });
    case Design::laconic:
      return with([encoding](auto&&... rest) { return laconic_arithmetic(encoding, rest...); });
    case Design::bitlet:
      return with([significances = accelerator.significances](auto&&... rest) {
        return bitlet_arithmetic(significances, rest...);
      });
    case Design::bitwave:
      return bitwave_arithmetic;
    case Design::bitvert:
      return with([bits = std::min(format.bits, 16), array_lanes = accelerator.lanes](auto&&... rest) {
        return bitvert_arithmetic(bits, array_lanes, rest...);
      });
    case Design::bitcluster:
      return with([format](auto&&... rest) { return bitcluster_arithmetic(format, rest...); });
  }
  std::abort();
}

/// What one lane does in a step: the weight of (channel of the filter, tap) on the activation of (channel of the input,
/// tap). A lane may bring an activation without a weight.
struct LaneWork {
  std::int16_t weight;
  int input_channel, tap;
};

/// The lanes of every row, step by step, of one batch of filters: (steps, rows).
std::vector<std::vector<LaneWork>> lane_work(const Accelerator& accelerator, const Mapping& mapping,
                                             const LayerTensors& layer, const DesignRule& rule, int group, int batch) {
  const int rows = mapping.rows_of(batch);
  const int first_filter = group * mapping.filters + batch * mapping.rows;
  const auto work_of = [&](int filter, int brick, int lane) -> LaneWork {
    const Mapping::Place place = mapping.place(brick, lane);
    const std::int64_t index = (std::int64_t(filter) * mapping.channels + place.channel) * mapping.taps + place.tap;
    return {layer.weights[index], mapping.input_channel(filter, place.channel), place.tap};
  };
  std::vector<std::vector<LaneWork>> work;
  if (!std::holds_alternative<TacticalRule>(rule)) {
    // on the diagonal, rows that share activations wait for those of the other rows, too
    const bool shared = mapping.depthwise && std::holds_alternative<ActivationRule>(rule);
    for (int brick = 0; brick < mapping.bricks(); ++brick) {
      for (int r = 0; r < rows; ++r) {
        std::vector<LaneWork>& lanes = work.emplace_back();
        if (shared) {
          for (int l = 0; l < rows; ++l) {
            lanes.push_back(work_of(first_filter + l, brick, 0));
            if (l != r) lanes.back().weight = 0;
          }
        } else {
          for (int l = 0; l < mapping.lanes_of(brick); ++l) lanes.push_back(work_of(first_filter + r, brick, l));
        }
      }
    }
    return work;
  }
  const std::vector<Promotion> map = search_map(accelerator);
  const int tile_rows = mapping.depthwise ? mapping.rows : accelerator.rows;
  for (int first_row = 0; first_row < rows; first_row += tile_rows) {
    const int here = std::min(tile_rows, rows - first_row);
    const TileSchedule tile(accelerator, mapping, layer, first_filter + first_row, here);
    for (std::size_t n = 0; n < tile.schedule.kept.size(); ++n) {
      if (work.size() < (n + 1) * rows) work.resize((n + 1) * rows);
      const int brick = tile.schedule.kept[n];
      for (int r = 0; r < here; ++r) {
        std::vector<LaneWork>& lanes = work[n * rows + first_row + r];
        for (int l = 0; l < mapping.lanes; ++l) {
          const std::uint8_t code =
              tile.schedule.sources[(std::size_t(r) * mapping.bricks() + brick) * mapping.lanes + l];
          if (code == Schedule::nothing) continue;
          const Promotion from = code == Schedule::own ? Promotion{0, 0} : map[code - 1];
          const int lane = ((l + from.aside) % mapping.lanes + mapping.lanes) % mapping.lanes;
          lanes.push_back(work_of(first_filter + first_row + r, brick + from.ahead, mapping.depthwise ? 0 : lane));
        }
      }
    }
  }
  return work;
}

std::vector<std::int32_t> narrowed(const LayerTensors& layer, const std::vector<std::int64_t>& sums) {
  std::vector<std::int32_t> result;
  result.reserve(sums.size());
  for (const std::int64_t sum : sums) {
    if (sum != std::int32_t(sum)) {
      throw Error("layer '" + layer.geometry.name + "' cannot run in functional mode", "a sum does not fit int32",
                  "use smaller values");
    }
    result.push_back(std::int32_t(sum));
  }
  return result;
}

}  // namespace

bool has_arithmetic(const Accelerator& accelerator) {
  return accelerator.design != Design::bit_parallel && accelerator.peer == Peer::none;
}

std::vector<std::int32_t> convolve(const LayerTensors& layer) {
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const int channels = g.channels_per_group();
  std::vector<std::int64_t> sums(g.output.size(), 0);
  parallel_for(g.filters, [&](long filter, int) {
    std::int64_t* sum = sums.data() + filter * g.output.height * g.output.width;
    for (int oy = 0; oy < g.output.height; ++oy) {
      for (int ox = 0; ox < g.output.width; ++ox, ++sum) {
        const std::int16_t* weight = layer.weights.data() + filter * channels * w.kernel_h * w.kernel_w;
        for (int c = 0; c < channels; ++c) {
          const std::int64_t channel = filter / (g.filters / g.groups) * channels + c;
          for (int ky = 0; ky < w.kernel_h; ++ky) {
            for (int kx = 0; kx < w.kernel_w; ++kx, ++weight) {
              const int y = oy * w.stride_h + ky * w.dilation_h - w.pad_top;
              const int x = ox * w.stride_w + kx * w.dilation_w - w.pad_left;
              if (y < 0 || x < 0 || y >= g.input.height || x >= g.input.width) continue;
              *sum += std::int64_t(*weight) * layer.activations[(channel * g.input.height + y) * g.input.width + x];
            }
          }
        }
      }
    }
  });
  return narrowed(layer, sums);
}

LayerFunction emulate_function(const Accelerator& accelerator, const LayerTensors& layer) {
  check_layer(accelerator, layer);
  const std::string what = "layer '" + layer.geometry.name + "' cannot run in functional mode";
  if (layer.activations.empty()) throw Error(what, "it has no activations", "give one image of them");
  if (!has_arithmetic(accelerator)) {
    throw Error(what, accelerator.name + " has no arithmetic of its own", "emulate its cycles only");
  }
  const DesignRule rule = design_rule(accelerator, layer);
  const BrickArithmetic brick_sum = brick_arithmetic(accelerator, layer);

  const Mapping mapping = map_layer(accelerator, layer.geometry);
  OperandTable values(1 << 16);  // the values themselves
  std::iota(values.begin(), values.end(), std::uint16_t(0));
  const PaddedImage image(layer, values);

  // cycles of every column in every step, (sets, steps, columns), of one batch
  struct BatchTimes {
    std::size_t steps = 0;
    std::vector<std::uint16_t> columns;
  };
  std::vector<BatchTimes> batches(std::size_t(mapping.groups) * mapping.batches());
  std::vector<std::int64_t> sums(layer.geometry.output.size(), 0);
  parallel_for(long(batches.size()), [&](long task, int) {
    const int group = int(task / mapping.batches()), batch = int(task % mapping.batches());
    const std::size_t rows = std::size_t(mapping.rows_of(batch));
    const auto work = lane_work(accelerator, mapping, layer, rule, group, batch);
    BatchTimes& times = batches[task];
    times.steps = work.size() / rows;
    times.columns.assign(mapping.pixel_sets() * times.steps * mapping.columns, 1);
    std::vector<std::int16_t> weights, activations;
    for (std::int64_t set = 0; set < mapping.pixel_sets(); ++set) {
      for (std::size_t place = 0; place < work.size(); ++place) {
        const std::int64_t filter = std::int64_t(group) * mapping.filters + batch * mapping.rows + place % rows;
        std::uint16_t* column = times.columns.data() + (set * times.steps + place / rows) * mapping.columns;
        for (int c = 0; c < mapping.columns_of(set); ++c) {
          const std::int64_t pixel = mapping.first_pixel(set) + c;
          weights.clear();
          activations.clear();
          for (const LaneWork& lane : work[place]) {
            weights.push_back(lane.weight);
            activations.push_back(std::int16_t(image.channel(lane.input_channel)[image.offset(lane.tap, pixel)]));
          }
          const int cycles =
              brick_sum(weights.data(), activations.data(), int(weights.size()), sums[filter * mapping.pixels + pixel]);
          column[c] = std::max(column[c], std::uint16_t(cycles));
        }
      }
    }
  });

  LayerFunction result;
  const bool rotating = mapping.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  const bool ordered = !mapping.fully_connected && accelerator.column_registers > 0;
  ColumnClock clock(mapping.columns, std::max(1, accelerator.column_registers));
  std::vector<std::int32_t> steps;
  const auto tick = [&](const BatchTimes& times, std::int64_t set) {
    for (std::size_t step = 0; step < times.steps; ++step) {
      const auto columns =
          std::span(times.columns)
              .subspan((set * times.steps + step) * mapping.columns, std::size_t(mapping.columns_of(set)));
      if (ordered) {
        clock.step(columns, 0);
      } else {
        steps.push_back(*std::max_element(columns.begin(), columns.end()));
      }
    }
  };
  if (mapping.depthwise) {  // bundles of channels on the diagonal are groups one after another
    for (const BatchTimes& times : batches) {
      for (std::int64_t set = 0; set < mapping.pixel_sets(); ++set) tick(times, set);
    }
  } else {
    for (int group = 0; group < mapping.groups; ++group) {
      for (std::int64_t set = 0; set < mapping.pixel_sets(); ++set) {
        for (int batch = 0; batch < mapping.batches(); ++batch) {
          tick(batches[std::size_t(group) * mapping.batches() + batch], set);
        }
      }
    }
  }
  result.compute_cycles = ordered    ? clock.cycles()
                          : rotating ? rotate(steps, accelerator.columns)
                                     : std::accumulate(steps.begin(), steps.end(), std::int64_t(0));
  result.sums = narrowed(layer, sums);
  return result;
}

}  // namespace bitcluster
