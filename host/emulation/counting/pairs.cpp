#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/emulation/counting/counting.hpp"

namespace bitcluster {
namespace {

/// One step of so many rows, from the first row's weights and activations on: all rows meet the same columns, or on the
/// diagonal each its own.
StepCost step_cost(const Mapping& mapping, const PairRule& rule, int rows, StepView view) {
  if (!mapping.depthwise) {
    view.rows = rows;
    return rule.step(view);
  }
  view.rows = 1;
  StepCost cost;
  for (int r = 0; r < rows; ++r) {
    const StepCost diagonal = rule.step(view);
    cost.cycles = std::max(cost.cycles, diagonal.cycles);
    cost.element_cycles += diagonal.element_cycles;
    cost.useful += diagonal.useful;
    cost.null_term += diagonal.null_term;
    view.weights += view.row_stride;
    view.activations += view.lane_stride;
  }
  return cost;
}

}  // namespace

void gather_columns(const Mapping& mapping, const PaddedImage& image, int group, std::int64_t set, int sources,
                    int column_stride, std::vector<std::uint16_t>& gathered) {
  const int columns = mapping.columns_of(set);
  gathered.assign(std::size_t(mapping.taps) * sources * column_stride, 0);
  std::vector<std::ptrdiff_t> offsets(static_cast<std::size_t>(columns));
  std::uint16_t* target = gathered.data();
  for (int tap = 0; tap < mapping.taps; ++tap) {
    for (int c = 0; c < columns; ++c) offsets[c] = image.offset(tap, mapping.first_pixel(set) + c);
    for (int source = 0; source < sources; ++source, target += column_stride) {
      const std::uint16_t* values =
          image.channel(mapping.depthwise ? mapping.input_channel(source, 0) : group * mapping.channels + source);
      for (int c = 0; c < columns; ++c) target[c] = values[offsets[c]];
    }
  }
}

LayerWork count_steps(const Mapping& mapping, const LayerTensors& layer, const PairRule& rule) {
  LayerWork result;
  if (mapping.fully_connected) result.step_cycles.resize(std::size_t(mapping.steps()));
  const PaddedImage image(layer, rule.operands);
  const int sources = mapping.depthwise ? mapping.filters : mapping.channels;
  const int column_stride = round_up(mapping.columns, operand_padding);
  const std::int64_t filter_size = std::int64_t(mapping.channels) * mapping.taps;

  // Packed weights are kept to a few megabytes: so many filter batches at a time, all of them in most layers.
  constexpr std::int64_t most_operands = 1 << 22;
  const int batches_at_once =
      int(std::clamp<std::int64_t>(most_operands / (mapping.row_stride() * mapping.rows), 1, mapping.batches()));
  std::vector<std::uint16_t> packed(std::size_t(batches_at_once) * mapping.rows * mapping.row_stride());
  std::vector<Work> parts(static_cast<std::size_t>(thread_count()));
  std::vector<std::vector<std::uint16_t>> buffers(parts.size());

  for (int group = 0; group < mapping.groups; ++group) {
    for (int first_batch = 0; first_batch < mapping.batches(); first_batch += batches_at_once) {
      const int last_batch = std::min(first_batch + batches_at_once, mapping.batches());
      const int first_filter = first_batch * mapping.rows;
      const int last_filter = std::min(last_batch * mapping.rows, mapping.filters);
      parallel_for(last_filter - first_filter, [&](long f, int) {
        pack_weights(mapping, rule.operands,
                     layer.weights.data() + (std::int64_t(group) * mapping.filters + first_filter + f) * filter_size,
                     packed.data() + f * mapping.row_stride());
      });
      // With few sets of pixels the batches of one set are spread over the threads, too.
      const int splits = mapping.pixel_sets() < 16 ? last_batch - first_batch : 1;
      parallel_for(long(mapping.pixel_sets() * splits), [&](long task, int thread) {
        const std::int64_t set = task / splits;
        const int begin = splits == 1 ? first_batch : first_batch + int(task % splits);
        const int end = splits == 1 ? last_batch : begin + 1;
        std::vector<std::uint16_t>& gathered = buffers[thread];
        gather_columns(mapping, image, group, set, sources, column_stride, gathered);
        StepView view;
        view.columns = mapping.columns_of(set);
        view.row_stride = mapping.row_stride();
        view.lane_stride = column_stride;
        Work sum;
        for (int batch = begin; batch < end; ++batch) {
          const int rows = mapping.rows_of(batch);
          for (int brick = 0; brick < mapping.bricks(); ++brick) {
            view.lanes = mapping.lanes_of(brick);
            view.activations = gathered.data() +
                               (std::int64_t(mapping.tap_of(brick)) * sources +
                                (mapping.depthwise ? batch * mapping.rows : brick % mapping.chunks() * mapping.lanes)) *
                                   column_stride;
            view.weights = packed.data() + std::int64_t(batch - first_batch) * mapping.rows * mapping.row_stride() +
                           std::int64_t(brick) * mapping.lane_stride();
            const StepCost cost = step_cost(mapping, rule, rows, view);
            sum += work_of(cost.cycles, cost.useful, cost.null_term, cost.element_cycles * view.lanes,
                           cost.cycles * rows * view.columns * view.lanes,
                           mapping.empty_slots(1, view.columns, std::int64_t(rows) * view.lanes) * cost.cycles);
            if (mapping.fully_connected) {
              result.step_cycles[std::int64_t(batch) * mapping.bricks() + brick] = std::int32_t(cost.cycles);
            }
          }
        }
        parts[thread] += sum;
      });
    }
  }
  for (const Work& part : parts) result.work += part;
  return result;
}

}  // namespace bitcluster
