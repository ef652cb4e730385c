#include "host/emulation/shift_and_add.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/emulation/column_clock.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/step_counter.hpp"
#include "host/emulation/tactical_schedule.hpp"

namespace bitcluster {
namespace {

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
    const KernelPosition place = mapping.kernel_position(brick, lane);
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
          if (code == TacticalSchedule::nothing) continue;
          const Promotion from = code == TacticalSchedule::own ? Promotion{0, 0} : map[code - 1];
          const int lane = ((l + from.aside) % mapping.lanes + mapping.lanes) % mapping.lanes;
          lanes.push_back(work_of(first_filter + first_row + r, brick + from.ahead, mapping.depthwise ? 0 : lane));
        }
      }
    }
  }
  return work;
}

/// Cycles of every column in every step, (sets, steps, columns), of one batch.
struct BatchTimes {
  std::size_t steps = 0;
  std::vector<std::uint16_t> columns;
};

/// Cycles of the layer. batches: (groups, batches).
std::int64_t cycles_of(const Accelerator& accelerator, const Mapping& mapping, const std::vector<BatchTimes>& batches) {
  const bool rotating = mapping.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  const bool ordered = columns_run_ahead(accelerator, mapping);
  ColumnClock clock(mapping.columns, std::max(1, accelerator.column_registers), mapping.column_slots);
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
  return ordered    ? clock.cycles()
         : rotating ? rotate(steps, accelerator.columns)
                    : std::accumulate(steps.begin(), steps.end(), std::int64_t(0));
}

std::vector<std::int32_t> narrowed(const LayerTensors& layer, const std::vector<std::int64_t>& sums) {
  std::vector<std::int32_t> result;
  result.reserve(sums.size());
  for (const std::int64_t sum : sums) {
    if (sum != std::int32_t(sum)) {
      throw Error(fmt::format("layer '{}' cannot run in functional mode", layer.geometry.name),
                  "a sum does not fit int32", "use smaller values");
    }
    result.push_back(std::int32_t(sum));
  }
  return result;
}

}  // namespace

bool has_arithmetic(const Accelerator& accelerator) {
  return accelerator.design->arithmetic && accelerator.peer == Peer::none;
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
  const std::string what = fmt::format("layer '{}' cannot run in functional mode", layer.geometry.name);
  if (layer.activations.empty()) throw Error(what, "it has no activations", "give one image of them");
  if (!has_arithmetic(accelerator)) {
    throw Error(what, fmt::format("{} has no arithmetic of its own", accelerator.name), "emulate its cycles only");
  }
  const DesignRule rule = accelerator.design->rule(accelerator, layer);
  const BrickArithmetic brick_sum = accelerator.design->arithmetic(accelerator, layer);

  const Mapping mapping = map_layer(accelerator, layer.geometry);
  OperandTable values(1 << 16);  // the values themselves
  std::iota(values.begin(), values.end(), std::uint16_t(0));
  const PaddedImage image(layer, values);

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
  result.compute_cycles = cycles_of(accelerator, mapping, batches);
  result.sums = narrowed(layer, sums);
  return result;
}

}  // namespace bitcluster
