#include <algorithm>
#include <cstdint>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/emulation/counting/counting.hpp"

namespace bitcluster {

LayerWork count_steps(const Mapping& mapping, const LayerTensors& layer, const WeightRule& rule) {
  LayerWork result;
  if (mapping.fully_connected) result.step_cycles.resize(std::size_t(mapping.steps()));
  std::vector<Work> parts(static_cast<std::size_t>(thread_count()));
  struct Buffer {
    std::vector<std::uint16_t> packed;  // one row
    std::vector<BrickCost> costs;       // of its bricks
    std::vector<std::int32_t> longest;  // of every brick's rows [cycles]
  };
  std::vector<Buffer> buffers(parts.size());
  // all chunks of a tap but maybe the last have as many lanes
  struct Run {
    int first, count, lanes;
  };
  std::vector<Run> runs;
  for (int brick = 0; brick < mapping.bricks(); ++brick) {
    const int lanes = mapping.lanes_of(brick);
    if (runs.empty() || runs.back().lanes != lanes) runs.push_back({brick, 0, lanes});
    ++runs.back().count;
  }
  const std::int64_t filter_size = std::int64_t(mapping.channels) * mapping.taps;
  const std::int64_t sets = mapping.pixel_sets(), filled_columns = mapping.filled_columns();
  parallel_for(long(mapping.groups) * mapping.batches(), [&](long task, int thread) {
    const int group = int(task / mapping.batches()), batch = int(task % mapping.batches());
    const int rows = mapping.rows_of(batch);
    const std::int64_t first_filter = std::int64_t(group) * mapping.filters + std::int64_t(batch) * mapping.rows;
    auto& [packed, costs, longest] = buffers[thread];
    packed.resize(std::size_t(mapping.row_stride()));
    costs.resize(std::size_t(mapping.bricks()));
    longest.assign(costs.size(), rule.shortest_step);
    Work sum;
    for (int r = 0; r < rows; ++r) {
      pack_weights(mapping, rule.operands, layer.weights.data() + (first_filter + r) * filter_size, packed.data());
      for (const Run& run : runs) {
        const std::int64_t slots = rule.slots(run.lanes);
        BrickCost* of_run = costs.data() + run.first;
        rule.bricks({packed.data() + std::int64_t(run.first) * mapping.lane_stride(), mapping.lane_stride(), run.count,
                     run.lanes},
                    of_run);
        for (int b = 0; b < run.count; ++b) {
          const BrickCost& cost = of_run[b];
          longest[run.first + b] = std::max(longest[run.first + b], cost.cycles);
          sum.useful += cost.useful;
          sum.null_term += cost.null_term;
          sum.weight_bits += cost.bits;
          sum.lane += cost.cycles * slots - cost.useful - cost.null_term;
          sum.row_column -= cost.cycles * slots;
        }
      }
    }
    for (const Run& run : runs) {
      const std::int64_t slots = std::int64_t(rows) * rule.slots(run.lanes);
      const std::uint64_t empty = mapping.empty_slots(sets, filled_columns, slots);
      for (int brick = run.first; brick < run.first + run.count; ++brick) {
        sum.cycles += longest[brick];
        sum.row_column += longest[brick] * slots;
        sum.edge += empty * longest[brick];  // a step may take -1 cycle, see BitwaveBricks
      }
    }
    if (mapping.fully_connected) {
      std::copy(longest.begin(), longest.end(), result.step_cycles.begin() + task * mapping.bricks());
    }
    // the same for every set of pixels, and for every pixel of a set
    parts[thread] += Work{.cycles = sum.cycles * sets,
                          .useful = sum.useful * mapping.pixels,
                          .null_term = sum.null_term * mapping.pixels,
                          .lane = sum.lane * mapping.pixels,
                          .row_column = sum.row_column * mapping.pixels,
                          .weight_bits = sum.weight_bits,
                          .edge = sum.edge};
  });
  for (const Work& part : parts) result.work += part;
  result.own_weight_bits = result.work.weight_bits > 0;
  return result;
}

}  // namespace bitcluster
