#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/emulation/column_clock.hpp"
#include "host/emulation/counting/counting.hpp"
#include "host/emulation/tactical_schedule.hpp"

namespace bitcluster {
namespace {

/// What the filters of one tile do, step by step.
struct TileSteps {
  struct Row {
    bool plain;           //!< every lane does its own weight
    int lanes;            //!< that bring an activation
    std::size_t sources;  //!< the first of them in TileSteps::sources
  };
  int rows = 0;
  std::vector<int> kept;               //!< bricks, in the order of time
  std::vector<Row> row_steps;          //!< (kept, rows)
  std::vector<std::uint32_t> sources;  //!< tap * sources + source, of rows that are not plain
};

/// Tiles that work side by side, and what their steps take.
struct TacticalBatch {
  std::vector<TileSteps> tiles;             //!< only while the batch is worked on
  std::size_t steps = 0;                    //!< of the tile with the most
  std::vector<std::uint16_t> column_times;  //!< with column registers: (sets, steps, columns)
  std::vector<std::int64_t> slots;          //!< with column registers: of a column, (steps)
  std::vector<std::int32_t> step_cycles;    //!< fully connected: (steps)
};

class TacticalCount {
 public:
  TacticalCount(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                const ActivationRule& behind, StepCounter* counter)
      : accelerator_(accelerator),
        mapping_(mapping),
        layer_(layer),
        behind_(behind),
        map_(search_map(accelerator)),
        image_(layer, behind.operands),
        busy_(operand_sums(layer, behind.busy)),
        useful_(operand_sums(layer, behind.useful)),
        sources_(mapping.depthwise ? mapping.filters : mapping.channels),
        tile_rows_(mapping.depthwise ? mapping.rows : accelerator.rows),
        column_stride_(round_up(mapping.columns, operand_padding)),
        ordered_(columns_run_ahead(accelerator, mapping)),
        counter_(counter),
        threads_(static_cast<std::size_t>(thread_count())) {
    for (int l = -most_lookaside; l < mapping.lanes + most_lookaside; ++l) {
      ring_.push_back((l % mapping.lanes + mapping.lanes) % mapping.lanes);
    }
    for (Thread& thread : threads_) {
      thread.lanes.resize(std::size_t(mapping.lanes));
      thread.longest.resize(std::size_t(column_stride_));
    }
  }

  LayerWork run() {
    LayerWork result;
    ColumnClock clock(mapping_.columns, std::max(1, accelerator_.column_registers), mapping_.column_slots);
    // Schedules are kept for some filters at a time, their sources to about 32 MiB; all of them in most layers.
    const std::int64_t batch_lanes = std::int64_t(mapping_.rows) * mapping_.bricks() * mapping_.lanes;
    const int batches_at_once = int(std::clamp<std::int64_t>((1 << 23) / batch_lanes, 1, mapping_.batches()));
    for (int group = 0; group < mapping_.groups; ++group) {
      std::vector<TacticalBatch> batches(static_cast<std::size_t>(mapping_.batches()));
      for (int first = 0; first < mapping_.batches(); first += batches_at_once) {
        const int last = std::min(first + batches_at_once, mapping_.batches());
        schedule(group, first, last, batches);
        count_sets(group, first, last, batches);
        for (int b = first; b < last; ++b) batches[b].tiles = {};
      }
      if (ordered_) run_ahead(batches, clock);
      for (const TacticalBatch& batch : batches) {
        result.step_cycles.insert(result.step_cycles.end(), batch.step_cycles.begin(), batch.step_cycles.end());
      }
    }
    for (const Thread& thread : threads_) result.work += thread.work;
    if (ordered_) {
      result.work.cycles = clock.cycles();
      result.work.row_column += clock.waited();
      result.work.edge += clock.empty();
    }
    result.work.weight_bits *= std::int64_t(encoded_weight_bits(accelerator_, layer_));
    result.own_weight_bits = true;
    return result;
  }

 private:
  /// Where a lane's activation is: among those gathered for a set of pixels, and among the sums over all pixels.
  struct Source {
    std::uint32_t gathered;
    std::size_t sum;
  };

  struct Thread {
    Work work;
    std::vector<std::uint16_t> gathered;      // activations of a set of pixels, see gather_columns()
    std::vector<const std::uint16_t*> lanes;  // activations of a row's lanes
    std::vector<std::uint16_t> longest;       // time of every column in a step
  };

  /// One step of a set of pixels; sums over the rows, in slots.
  struct Step {
    std::int64_t slots = 0;               // of one column
    std::int64_t element = 0, empty = 0;  // until the processing element itself is done; those without any term
  };

  /// Sources of every lane's own weights, (bricks, lanes), of the filters from `first_filter` on.
  std::vector<Source> own_sources(int group, int first_filter) const {
    std::vector<Source> result;
    result.reserve(std::size_t(mapping_.bricks()) * mapping_.lanes);
    for (int brick = 0; brick < mapping_.bricks(); ++brick) {
      for (int lane = 0; lane < mapping_.lanes; ++lane) {
        const KernelPosition place = mapping_.depthwise
                                         ? KernelPosition{std::min(first_filter + lane, sources_ - 1), brick}
                                         : mapping_.kernel_position(brick, lane);
        const int channel =
            mapping_.depthwise ? mapping_.input_channel(place.channel, 0) : group * mapping_.channels + place.channel;
        result.push_back(
            {std::uint32_t(place.tap) * sources_ + place.channel, std::size_t(channel) * mapping_.taps + place.tap});
      }
    }
    return result;
  }

  /// What a lane does on an activation, over all pixels: with a zero weight it is all in vain.
  void add_lane(const Source& source, bool effectual, Work& work) const {
    const std::int64_t busy = busy_[source.sum];
    const std::int64_t useful = effectual ? useful_[source.sum] : 0;
    work.useful += useful;
    work.null_term += busy - useful;
    work.lane -= busy;
  }

  TileSteps tile_steps(int group, int first_filter, int rows, Work& work) const {
    const TileSchedule tile(accelerator_, mapping_, layer_, group * mapping_.filters + first_filter, rows);
    const std::vector<Source> own = own_sources(group, first_filter);
    TileSteps steps;
    steps.rows = rows;
    steps.kept = tile.schedule.kept;
    steps.row_steps.reserve(steps.kept.size() * rows);
    steps.sources.reserve(steps.kept.size() * rows * mapping_.lanes);
    for (const int brick : steps.kept) {
      std::optional<Work> full;  // of a row of nonzero weights
      for (int r = 0; r < rows; ++r) {
        const std::size_t place = std::size_t(r) * mapping_.bricks() + brick;
        const bool plain = tile.schedule.plain[place] && !mapping_.depthwise;
        if (!plain || tile.nonzero[place] != tile.present[place]) {
          add_row(tile, own, brick, r, plain, steps, work);
          continue;
        }
        if (!full) {
          full.emplace();
          for (int l = 0; l < mapping_.lanes_of(brick); ++l) {
            add_lane(own[std::size_t(brick) * mapping_.lanes + l], true, *full);
          }
        }
        work += *full;
        steps.row_steps.push_back({true, mapping_.lanes_of(brick), 0});
      }
    }
    work.weight_bits += std::int64_t(steps.kept.size()) * rows * mapping_.lanes;  // times the bits of one, see run()
    return steps;
  }

  /// A row lane by lane, as the schedule has it.
  void add_row(const TileSchedule& tile, const std::vector<Source>& own, int brick, int row, bool plain,
               TileSteps& steps, Work& work) const {
    const int lanes = mapping_.lanes;
    const std::size_t place = std::size_t(row) * mapping_.bricks() + brick;
    const std::uint8_t* codes = tile.schedule.sources.data() + place * lanes;
    const std::size_t first = steps.sources.size();
    for (int l = 0; l < lanes; ++l) {
      const std::uint8_t code = codes[l];
      if (code == TacticalSchedule::nothing) continue;
      std::size_t from = std::size_t(brick) * lanes + l;
      bool effectual = true;
      if (code == TacticalSchedule::own) {
        effectual = tile.nonzero[place] >> l & 1;
      } else if (code == TacticalSchedule::first) {
        from = 0;
        effectual = false;
      } else {
        const Promotion promotion = map_[code - 1];
        from = std::size_t(brick + promotion.ahead) * lanes + ring_[l + promotion.aside + most_lookaside];
      }
      add_lane(own[from], effectual, work);
      steps.sources.push_back(own[from].gathered);
    }
    const int bringing = int(steps.sources.size() - first);
    if (plain) steps.sources.resize(first);
    steps.row_steps.push_back({plain, bringing, first});
  }

  /// Schedules the tiles of batches [first, last).
  void schedule(int group, int first, int last, std::vector<TacticalBatch>& batches) {
    const int most_tiles = int(ceil_div(mapping_.rows, tile_rows_));
    for (int b = first; b < last; ++b) batches[b].tiles.resize(std::size_t(ceil_div(mapping_.rows_of(b), tile_rows_)));
    parallel_for(long(last - first) * most_tiles, [&](long task, int thread) {
      const int b = first + int(task / most_tiles), tile = int(task % most_tiles);
      if (tile >= int(batches[b].tiles.size())) return;
      const int first_row = tile * tile_rows_;
      batches[b].tiles[tile] = tile_steps(group, b * mapping_.rows + first_row,
                                          std::min(tile_rows_, mapping_.rows_of(b) - first_row), threads_[thread].work);
    });
    for (int b = first; b < last; ++b) {
      TacticalBatch& batch = batches[b];
      for (const TileSteps& tile : batch.tiles) batch.steps = std::max(batch.steps, tile.kept.size());
      if (ordered_) batch.column_times.resize(mapping_.pixel_sets() * batch.steps * mapping_.columns);
      if (ordered_) batch.slots.resize(batch.steps);
      if (mapping_.fully_connected) batch.step_cycles.resize(batch.steps);
    }
  }

  /// All sets of pixels on batches [first, last); with few sets the batches of one are spread over the threads, too.
  void count_sets(int group, int first, int last, std::vector<TacticalBatch>& batches) {
    if (counter_ && count_elsewhere(group, first, last, batches)) return;
    const int splits = mapping_.pixel_sets() < 16 ? last - first : 1;
    parallel_for(long(mapping_.pixel_sets() * splits), [&](long task, int index) {
      const std::int64_t set = task / splits;
      const int begin = splits == 1 ? first : first + int(task % splits);
      const int end = splits == 1 ? last : begin + 1;
      Thread& thread = threads_[index];
      gather_columns(mapping_, image_, group, set, sources_, column_stride_, thread.gathered);
      for (int b = begin; b < end; ++b) {
        for (std::size_t n = 0; n < batches[b].steps; ++n) count_step(batches[b], n, set, thread);
      }
    });
  }

  /// The same by the counter, if it takes it.
  bool count_elsewhere(int group, int first, int last, std::vector<TacticalBatch>& batches) {
    if (image_.shape().channels * image_.size() >> 32) return false;  // places are of 32 bits
    const ScheduledSteps steps = scheduled_steps(group, first, last, batches);
    const std::optional<ScheduledWork> counted =
        counter_->count_schedule(accelerator_, mapping_, layer_, behind_, steps);
    if (!counted) return false;
    const ColumnWork& columns = counted->columns;
    threads_[0].work += work_of(columns.cycles, 0, columns.empty, columns.element, columns.step, columns.edge);
    std::size_t step = 0;
    for (int b = first; b < last; ++b) {
      TacticalBatch& batch = batches[b];
      for (std::size_t n = 0; n < batch.steps; ++n, ++step) {
        if (mapping_.fully_connected) batch.step_cycles[n] = columns.brick_cycles[step];
        if (!ordered_) continue;
        batch.slots[n] = steps.slots[step];
        for (std::int64_t set = 0; set < mapping_.pixel_sets(); ++set) {
          std::copy_n(counted->column_times.begin() + step * mapping_.pixels + mapping_.first_pixel(set),
                      mapping_.columns_of(set),
                      batch.column_times.begin() + (set * batch.steps + n) * mapping_.columns);
        }
      }
    }
    return true;
  }

  ScheduledSteps scheduled_steps(int group, int first, int last, const std::vector<TacticalBatch>& batches) const {
    std::vector<std::uint32_t> places(std::size_t(mapping_.taps) * sources_);  // by gathered source
    for (int tap = 0; tap < mapping_.taps; ++tap) {
      for (int source = 0; source < sources_; ++source) {
        const std::int64_t channel =
            mapping_.depthwise ? mapping_.input_channel(source, 0) : group * mapping_.channels + source;
        places[std::size_t(tap) * sources_ + source] = std::uint32_t(channel * image_.size() + image_.offset(tap, 0));
      }
    }
    ScheduledSteps steps;
    const auto add = [&](int rows, int lanes) {
      steps.rows.push_back({std::int32_t(steps.slots.size()) - 1, rows, lanes, std::uint32_t(steps.sources.size())});
    };
    for (int b = first; b < last; ++b) {
      for (std::size_t n = 0; n < batches[b].steps; ++n) {
        std::int64_t& slots = steps.slots.emplace_back(0);
        for (const TileSteps& tile : batches[b].tiles) {
          if (n >= tile.kept.size()) {
            slots += std::int64_t(tile.rows) * mapping_.lanes;  // done, while another tile works on
            continue;
          }
          int plain_rows = 0;
          for (int r = 0; r < tile.rows; ++r) {
            const TileSteps::Row& row = tile.row_steps[n * tile.rows + r];
            slots += row.lanes;
            plain_rows += row.plain;
            if (row.plain) continue;
            add(1, row.lanes);
            for (int l = 0; l < row.lanes; ++l) steps.sources.push_back(places[tile.sources[row.sources + l]]);
          }
          if (plain_rows == 0) continue;
          const int brick = tile.kept[n], lanes = mapping_.lanes_of(brick);
          add(plain_rows, lanes);
          for (int l = 0; l < lanes; ++l) {
            const KernelPosition place = mapping_.kernel_position(brick, l);
            steps.sources.push_back(places[std::size_t(place.tap) * sources_ + place.channel]);
          }
        }
      }
    }
    return steps;
  }

  void count_step(TacticalBatch& batch, std::size_t n, std::int64_t set, Thread& thread) const {
    const int columns = mapping_.columns_of(set);
    std::fill(thread.longest.begin(), thread.longest.end(), 1);
    Step step;
    for (const TileSteps& tile : batch.tiles) {
      if (n < tile.kept.size()) {
        add_tile(tile, n, columns, thread, step);
      } else {
        step.slots += std::int64_t(tile.rows) * mapping_.lanes;  // done, while another tile works on
      }
    }
    std::int64_t cycles = 0, all_columns = 0;
    for (int c = 0; c < columns; ++c) {
      cycles = std::max<std::int64_t>(cycles, thread.longest[c]);
      all_columns += thread.longest[c];
    }
    Work& work = thread.work;
    work.lane += step.element - step.empty;
    work.null_term += step.empty;
    if (ordered_) {
      std::copy_n(thread.longest.begin(), columns,
                  batch.column_times.begin() + (set * batch.steps + n) * mapping_.columns);
      if (set == 0) batch.slots[n] = step.slots;  // the same for all
      work.row_column += all_columns * step.slots - step.element;
    } else {
      work.cycles += cycles;
      work.row_column += cycles * columns * step.slots - step.element;
      work.edge += mapping_.empty_slots(1, columns, step.slots) * cycles;
      if (mapping_.fully_connected) batch.step_cycles[n] = std::int32_t(cycles);
    }
  }

  void add_tile(const TileSteps& tile, std::size_t n, int columns, Thread& thread, Step& step) const {
    int plain_rows = 0;
    for (int r = 0; r < tile.rows; ++r) {
      const TileSteps::Row& row = tile.row_steps[n * tile.rows + r];
      plain_rows += row.plain;
      if (row.plain) continue;
      for (int l = 0; l < row.lanes; ++l) {
        thread.lanes[l] = thread.gathered.data() + std::ptrdiff_t(tile.sources[row.sources + l]) * column_stride_;
      }
      add_rows(row.lanes, 1, columns, thread, step);
    }
    if (plain_rows == 0) return;
    const int brick = tile.kept[n], lanes = mapping_.lanes_of(brick);
    for (int l = 0; l < lanes; ++l) {
      const KernelPosition place = mapping_.kernel_position(brick, l);
      thread.lanes[l] =
          thread.gathered.data() + (std::ptrdiff_t(place.tap) * sources_ + place.channel) * column_stride_;
    }
    add_rows(lanes, plain_rows, columns, thread, step);
  }

  /// `rows` rows alike, each with `count` lanes that bring an activation.
  void add_rows(int count, std::int64_t rows, int columns, Thread& thread, Step& step) const {
    step.slots += rows * count;
    for (int first = 0; first < columns; first += operand_padding) {
      std::uint16_t times[operand_padding];
      behind_.columns(thread.lanes.data(), count, times);
      std::int64_t all = 0, zeros = 0;
      for (int c = 0; c < std::min(operand_padding, columns - first); ++c) {
        thread.longest[first + c] = std::max(thread.longest[first + c], times[c]);
        all += std::max<std::uint16_t>(times[c], 1);
        zeros += times[c] == 0;
      }
      step.element += all * rows * count;
      step.empty += zeros * rows * count;
      for (int l = 0; l < count; ++l) thread.lanes[l] += operand_padding;
    }
  }

  /// The steps of a group one after another, columns ahead of each other.
  void run_ahead(const std::vector<TacticalBatch>& batches, ColumnClock& clock) const {
    const auto run = [&](const TacticalBatch& batch, std::int64_t set) {
      const std::size_t columns = std::size_t(mapping_.columns_of(set));
      for (std::size_t n = 0; n < batch.steps; ++n) {
        const std::size_t first = (set * batch.steps + n) * mapping_.columns;
        clock.step(std::span(batch.column_times).subspan(first, columns), batch.slots[n]);
      }
    };
    const std::int64_t sets = mapping_.pixel_sets();
    if (mapping_.depthwise) {  // bundles of channels on the diagonal are groups one after another, too
      for (const TacticalBatch& batch : batches) {
        for (std::int64_t set = 0; set < sets; ++set) run(batch, set);
      }
    } else {
      for (std::int64_t set = 0; set < sets; ++set) {
        for (const TacticalBatch& batch : batches) run(batch, set);
      }
    }
  }

  const Accelerator& accelerator_;
  const Mapping& mapping_;
  const LayerTensors& layer_;
  const ActivationRule& behind_;
  const std::vector<Promotion> map_;
  std::vector<int> ring_;  // lane l of the ring of lanes is at l + most_lookaside
  const PaddedImage image_;
  const std::vector<std::int64_t> busy_, useful_;  // sums over all pixels, (channels, taps)
  const int sources_;                              // channels of the group, or filters on the diagonal
  const int tile_rows_, column_stride_;
  const bool ordered_;  // columns run ahead of each other
  StepCounter* const counter_;
  std::vector<Thread> threads_;
};

}  // namespace

LayerWork count_steps(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                      const TacticalRule& rule, StepCounter* counter) {
  return TacticalCount(accelerator, mapping, layer, rule.behind, counter).run();
}

}  // namespace bitcluster
