#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/layer.hpp"
#include "host/emulation/mapping.hpp"

namespace bitcluster {

/// Sums over the steps of a layer, in slots where not said otherwise.
struct Work {
  std::int64_t cycles = 0;  //!< of all steps, one after another, or until the last column is done
  std::int64_t useful = 0, null_term = 0, lane = 0, row_column = 0;
  std::int64_t weight_bits = 0;  //!< of the weights in memory, where the rule decides
  std::uint64_t edge = 0;        //!< see Mapping::empty_slots()

  Work& operator+=(const Work& other) {
    cycles += other.cycles;
    useful += other.useful;
    null_term += other.null_term;
    lane += other.lane;
    row_column += other.row_column;
    weight_bits += other.weight_bits;
    edge += other.edge;
    return *this;
  }
};

/// element: slots until every processing element is done for itself; step: until its step is done.
inline Work work_of(std::int64_t cycles, std::int64_t useful, std::int64_t null_term, std::int64_t element,
                    std::int64_t step, std::uint64_t edge) {
  return {cycles, useful, null_term, element - useful - null_term, step - element, 0, edge};
}

struct LayerWork {
  Work work;
  bool own_weight_bits = false;           //!< work.weight_bits holds; else encoded_weight_bits() says
  std::vector<std::int32_t> step_cycles;  //!< of a fully connected layer, every step in the order (batch, brick)
};

/// Bricks of activations, in an ActivationRule: chunks of channels, or on the diagonal the channels of a batch.
BITCLUSTER_HOST_DEVICE inline int activation_chunks(const Mapping& mapping) {
  return mapping.depthwise ? mapping.batches() : mapping.chunks();
}

/// Cycles of every brick of activations at every position of the padded image, 0 where it has no term:
/// (groups, activation_chunks, h, w).
using BrickTimes = std::vector<std::uint16_t>;

/// What the columns do with their bricks.
struct ColumnWork {
  std::int64_t cycles = 0;
  std::int64_t element = 0, step = 0;      //!< as in work_of()
  std::int64_t empty = 0;                  //!< of `element`, slots without any term
  std::uint64_t edge = 0;                  //!< as in Work
  std::vector<std::int32_t> brick_cycles;  //!< of a fully connected layer, the same in every batch
};

/// Steps as Bit-Tactical's schedule has them.
struct ScheduledSteps {
  struct Row {
    std::int32_t step;
    std::int32_t rows;     //!< alike
    std::int32_t lanes;    //!< that bring an activation
    std::uint32_t source;  //!< the first of them in `sources`
  };
  std::vector<Row> rows;               //!< in the order of steps
  std::vector<std::uint32_t> sources;  //!< where the padded image has the activation for pixel 0
  std::vector<std::int64_t> slots;     //!< of one column, (steps)
};

struct ScheduledWork {
  ColumnWork columns;  //!< brick_cycles: of every step; with columns that run ahead, step: of every column
  std::vector<std::uint16_t> column_times;  //!< if columns run ahead, (steps, pixels)
};

/// Whether columns run ahead of each other.
inline bool columns_run_ahead(const Accelerator& accelerator, const Mapping& mapping) {
  return accelerator.column_registers > 0 && !mapping.fully_connected;
}

/// Looks at every value of a layer in place of the CPU, with the same result.
class StepCounter {
 public:
  virtual ~StepCounter() = default;

  /// Nothing for a rule that this counter leaves to the CPU. Blocks until it is done.
  virtual std::optional<LayerWork> count(const Accelerator& accelerator, const Mapping& mapping,
                                         const LayerTensors& layer, const DesignRule& rule) = 0;

  /// The same of a TacticalRule's steps, some filters at a time.
  virtual std::optional<ScheduledWork> count_schedule(const Accelerator& accelerator, const Mapping& mapping,
                                                      const LayerTensors& layer, const ActivationRule& behind,
                                                      const ScheduledSteps& steps) = 0;
};

}  // namespace bitcluster
