#include <cstdint>

#include "host/emulation/counting/counting.hpp"

namespace bitcluster {

LayerWork count_steps(const Mapping& mapping, const LayerTensors& layer, const FixedRule& rule) {
  LayerWork result;
  result.work.cycles = mapping.steps() * rule.cycles;
  result.work.useful = rule.useful;
  result.work.null_term = std::int64_t(layer.weights.size()) * mapping.pixels * rule.cycles - rule.useful;
  std::int64_t rows = 0, lanes = 0;  // of all batches, of all bricks
  for (int batch = 0; batch < mapping.batches(); ++batch) rows += mapping.rows_of(batch);
  for (int brick = 0; brick < mapping.bricks(); ++brick) lanes += mapping.lanes_of(brick);
  result.work.edge =
      mapping.empty_slots(mapping.steps(), mapping.groups * mapping.filled_columns(), rows * lanes) * rule.cycles;
  if (mapping.fully_connected) result.step_cycles.assign(std::size_t(mapping.steps()), rule.cycles);
  return result;
}

}  // namespace bitcluster
