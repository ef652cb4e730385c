#include "host/emulation/emulator.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/emulation/column_clock.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/step_counter.hpp"
#include "host/emulation/tactical_schedule.hpp"

namespace bitcluster {
namespace {

Work total(const std::vector<Work>& parts) {
  return std::accumulate(parts.begin(), parts.end(), Work(), [](Work a, const Work& b) { return a += b; });
}

LayerWork walk(const Accelerator&, const Mapping& mapping, const LayerTensors& layer, const FixedRule& rule, Walker*) {
  LayerWork result;
  result.work.cycles = mapping.steps() * rule.cycles;
  result.work.useful = rule.useful;
  result.work.null_term = std::int64_t(layer.weights.size()) * mapping.pixels * rule.cycles - rule.useful;
  if (mapping.fully_connected) result.step_cycles.assign(std::size_t(mapping.steps()), rule.cycles);
  return result;
}

LayerWork walk(const Accelerator&, const Mapping& mapping, const LayerTensors& layer, const WeightRule& rule, Walker*) {
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
      for (int brick = run.first; brick < run.first + run.count; ++brick) {
        sum.cycles += longest[brick];
        sum.row_column += longest[brick] * rows * std::int64_t(rule.slots(run.lanes));
      }
    }
    if (mapping.fully_connected) {
      std::copy(longest.begin(), longest.end(), result.step_cycles.begin() + task * mapping.bricks());
    }
    // the same for every set of pixels, and for every pixel of a set
    parts[thread] +=
        Work{sum.cycles * mapping.pixel_sets(), sum.useful * mapping.pixels,     sum.null_term * mapping.pixels,
             sum.lane * mapping.pixels,         sum.row_column * mapping.pixels, sum.weight_bits};
  });
  result.work = total(parts);
  result.own_weight_bits = result.work.weight_bits > 0;
  return result;
}

BrickTimes brick_times(const Mapping& mapping, const PaddedImage& image, const ActivationRule& rule) {
  const int chunks = activation_chunks(mapping);
  BrickTimes result(std::size_t(mapping.groups) * chunks * image.size());
  parallel_for(long(mapping.groups) * chunks, [&](long place, int) {
    const int group = int(place / chunks), chunk = int(place % chunks);
    std::vector<const std::uint16_t*> lanes;
    if (mapping.depthwise) {
      for (int r = 0; r < mapping.rows_of(chunk); ++r) {
        lanes.push_back(image.channel(mapping.input_channel(chunk * mapping.rows + r, 0)));
      }
    } else {
      for (int l = 0; l < mapping.lanes_of(chunk); ++l) {
        lanes.push_back(image.channel(group * mapping.channels + chunk * mapping.lanes + l));
      }
    }
    std::uint16_t* times = result.data() + place * image.size();
    for (std::ptrdiff_t position = 0; position < image.size(); position += operand_padding) {
      std::uint16_t run[operand_padding];
      rule.columns(lanes.data(), int(lanes.size()), run);
      std::copy_n(run, std::min<std::ptrdiff_t>(operand_padding, image.size() - position), times + position);
      for (const std::uint16_t*& lane : lanes) lane += operand_padding;
    }
  });
  return result;
}

LayerWork walk(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
               const ActivationRule& rule, Walker*) {
  const PaddedImage image(layer, rule.operands);
  const ColumnWork columns = walk_columns(accelerator, mapping, image.shape(), brick_times(mapping, image, rule));
  return layer_work(mapping, columns, operand_products(layer, rule.busy, {}),
                    operand_products(layer, rule.useful, rule.weight_terms));
}

/// Activations of one set of pixels, (taps, sources, column_stride), zeros where there is no column. A source is a
/// channel of the group, or a filter on the diagonal.
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

LayerWork walk(const Accelerator&, const Mapping& mapping, const LayerTensors& layer, const PairRule& rule, Walker*) {
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
            const int tap = mapping.tap_of(brick), chunk = brick % mapping.chunks();
            view.lanes = mapping.lanes_of(brick);
            view.weights = packed.data() + std::int64_t(batch - first_batch) * mapping.rows * mapping.row_stride() +
                           std::int64_t(brick) * mapping.lane_stride();
            StepCost cost;
            if (mapping.depthwise) {
              view.rows = 1;
              for (int r = 0; r < rows; ++r, view.weights += mapping.row_stride()) {
                view.activations =
                    gathered.data() + (std::int64_t(tap) * sources + batch * mapping.rows + r) * column_stride;
                const StepCost diagonal = rule.step(view);
                cost.cycles = std::max(cost.cycles, diagonal.cycles);
                cost.element_cycles += diagonal.element_cycles;
                cost.useful += diagonal.useful;
                cost.null_term += diagonal.null_term;
              }
            } else {
              view.rows = rows;
              view.activations =
                  gathered.data() + (std::int64_t(tap) * sources + chunk * mapping.lanes) * column_stride;
              cost = rule.step(view);
            }
            sum += work_of(cost.cycles, cost.useful, cost.null_term, cost.element_cycles * view.lanes,
                           cost.cycles * rows * view.columns * view.lanes);
            if (mapping.fully_connected) {
              result.step_cycles[std::int64_t(batch) * mapping.bricks() + brick] = std::int32_t(cost.cycles);
            }
          }
        }
        parts[thread] += sum;
      });
    }
  }
  result.work = total(parts);
  return result;
}

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

class TacticalWalk {
 public:
  TacticalWalk(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
               const ActivationRule& behind, Walker* walker)
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
        walker_(walker),
        threads_(static_cast<std::size_t>(thread_count())) {
    for (int l = -of_lookaside.high; l < mapping.lanes + of_lookaside.high; ++l) {
      ring_.push_back((l % mapping.lanes + mapping.lanes) % mapping.lanes);
    }
    for (Thread& thread : threads_) {
      thread.lanes.resize(std::size_t(mapping.lanes));
      thread.longest.resize(std::size_t(column_stride_));
    }
  }

  LayerWork run() {
    LayerWork result;
    ColumnClock clock(mapping_.columns, std::max(1, accelerator_.column_registers));
    // Schedules are kept for some filters at a time, their sources to about 32 MiB; all of them in most layers.
    const std::int64_t batch_lanes = std::int64_t(mapping_.rows) * mapping_.bricks() * mapping_.lanes;
    const int batches_at_once = int(std::clamp<std::int64_t>((1 << 23) / batch_lanes, 1, mapping_.batches()));
    for (int group = 0; group < mapping_.groups; ++group) {
      std::vector<TacticalBatch> batches(static_cast<std::size_t>(mapping_.batches()));
      for (int first = 0; first < mapping_.batches(); first += batches_at_once) {
        const int last = std::min(first + batches_at_once, mapping_.batches());
        schedule(group, first, last, batches);
        walk_sets(group, first, last, batches);
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
        const Mapping::Place place = mapping_.depthwise
                                         ? Mapping::Place{std::min(first_filter + lane, sources_ - 1), brick}
                                         : mapping_.place(brick, lane);
        const int channel =
            mapping_.depthwise ? mapping_.input_channel(place.channel, 0) : group * mapping_.channels + place.channel;
        result.push_back(
            {std::uint32_t(place.tap) * sources_ + place.channel, std::size_t(channel) * mapping_.taps + place.tap});
      }
    }
    return result;
  }

  /// What a lane does on an activation, over all pixels: with a zero weight it is all in vain.
  void count(const Source& source, bool effectual, Work& work) const {
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
            count(own[std::size_t(brick) * mapping_.lanes + l], true, *full);
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
      if (code == Schedule::nothing) continue;
      std::size_t from = std::size_t(brick) * lanes + l;
      bool effectual = true;
      if (code == Schedule::own) {
        effectual = tile.nonzero[place] >> l & 1;
      } else if (code == Schedule::first) {
        from = 0;
        effectual = false;
      } else {
        const Promotion promotion = map_[code - 1];
        from = std::size_t(brick + promotion.ahead) * lanes + ring_[l + promotion.aside + of_lookaside.high];
      }
      count(own[from], effectual, work);
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
  void walk_sets(int group, int first, int last, std::vector<TacticalBatch>& batches) {
    if (walker_ && walk_elsewhere(group, first, last, batches)) return;
    const int splits = mapping_.pixel_sets() < 16 ? last - first : 1;
    parallel_for(long(mapping_.pixel_sets() * splits), [&](long task, int index) {
      const std::int64_t set = task / splits;
      const int begin = splits == 1 ? first : first + int(task % splits);
      const int end = splits == 1 ? last : begin + 1;
      Thread& thread = threads_[index];
      gather_columns(mapping_, image_, group, set, sources_, column_stride_, thread.gathered);
      for (int b = begin; b < end; ++b) {
        for (std::size_t n = 0; n < batches[b].steps; ++n) walk_step(batches[b], n, set, thread);
      }
    });
  }

  /// The same by the walker, if it takes it.
  bool walk_elsewhere(int group, int first, int last, std::vector<TacticalBatch>& batches) {
    if (image_.shape().channels * image_.size() >> 32) return false;  // places are of 32 bits
    const ScheduledSteps steps = scheduled_steps(group, first, last, batches);
    const std::optional<ScheduledWork> walked = walker_->walk_schedule(accelerator_, mapping_, layer_, behind_, steps);
    if (!walked) return false;
    const ColumnWork& columns = walked->columns;
    threads_[0].work +=
        Work{columns.cycles, 0, columns.empty, columns.element - columns.empty, columns.step - columns.element};
    std::size_t step = 0;
    for (int b = first; b < last; ++b) {
      TacticalBatch& batch = batches[b];
      for (std::size_t n = 0; n < batch.steps; ++n, ++step) {
        if (mapping_.fully_connected) batch.step_cycles[n] = columns.brick_cycles[step];
        if (!ordered_) continue;
        batch.slots[n] = steps.slots[step];
        for (std::int64_t set = 0; set < mapping_.pixel_sets(); ++set) {
          std::copy_n(walked->column_times.begin() + step * mapping_.pixels + mapping_.first_pixel(set),
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
            const Mapping::Place place = mapping_.place(brick, l);
            steps.sources.push_back(places[std::size_t(place.tap) * sources_ + place.channel]);
          }
        }
      }
    }
    return steps;
  }

  void walk_step(TacticalBatch& batch, std::size_t n, std::int64_t set, Thread& thread) const {
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
      const Mapping::Place place = mapping_.place(brick, l);
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
    const auto walk = [&](const TacticalBatch& batch, std::int64_t set) {
      const std::size_t columns = std::size_t(mapping_.columns_of(set));
      for (std::size_t n = 0; n < batch.steps; ++n) {
        const std::size_t first = (set * batch.steps + n) * mapping_.columns;
        clock.step(std::span(batch.column_times).subspan(first, columns), batch.slots[n]);
      }
    };
    const std::int64_t sets = mapping_.pixel_sets();
    if (mapping_.depthwise) {  // bundles of channels on the diagonal are groups one after another, too
      for (const TacticalBatch& batch : batches) {
        for (std::int64_t set = 0; set < sets; ++set) walk(batch, set);
      }
    } else {
      for (std::int64_t set = 0; set < sets; ++set) {
        for (const TacticalBatch& batch : batches) walk(batch, set);
      }
    }
  }

  const Accelerator& accelerator_;
  const Mapping& mapping_;
  const LayerTensors& layer_;
  const ActivationRule& behind_;
  const std::vector<Promotion> map_;
  std::vector<int> ring_;  // lane l of the ring of lanes is at l + of_lookaside.high
  const PaddedImage image_;
  const std::vector<std::int64_t> busy_, useful_;  // sums over all pixels, (channels, taps)
  const int sources_;                              // channels of the group, or filters on the diagonal
  const int tile_rows_, column_stride_;
  const bool ordered_;  // columns run ahead of each other
  Walker* const walker_;
  std::vector<Thread> threads_;
};

LayerWork walk(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
               const TacticalRule& rule, Walker* walker) {
  return TacticalWalk(accelerator, mapping, layer, rule.behind, walker).run();
}

Traffic traffic_of(const Accelerator& accelerator, const LayerTensors& layer, const Mapping& mapping,
                   double weight_bits) {
  const LayerGeometry& geometry = layer.geometry;
  const double weights = weight_bits / 8;
  const double input = double(geometry.input.size()) * layer.activation_bits / 8;
  const double output = double(geometry.output.size()) * layer.activation_bits / 8;
  const double weight_passes = std::ceil(weights / geometry.groups / double(accelerator.weight_buffer));
  const double input_passes = std::ceil(input / geometry.groups / double(accelerator.activation_buffer));
  Traffic traffic;
  const bool keep_weights = weights + weight_passes * input <= input_passes * weights + input;
  traffic.weights_off_chip = keep_weights ? weights : input_passes * weights;
  traffic.activations_off_chip = (keep_weights ? weight_passes * input : input) + output;

  const double step_reads = mapping.depthwise
                                ? double(mapping.filters) * mapping.taps
                                : double(mapping.groups) * mapping.batches() * mapping.channels * mapping.taps;
  traffic.weights_on_chip = traffic.weights_off_chip + weights * double(mapping.pixel_sets());
  traffic.activations_on_chip =
      traffic.activations_off_chip + output + step_reads * double(mapping.pixels) * layer.activation_bits / 8;
  return traffic;
}

Energy energy_of(const Accelerator& accelerator, const LayerEmulation& layer) {
  const Traffic& traffic = layer.traffic;
  Energy energy;
  energy.compute = double(layer.slots.useful + layer.slots.null_term) * accelerator.term_energy;
  energy.on_chip = (traffic.weights_on_chip + traffic.activations_on_chip) * accelerator.on_chip_energy;
  energy.off_chip = (traffic.weights_off_chip + traffic.activations_off_chip) * accelerator.off_chip_energy;
  energy.leakage = double(layer.cycles) * accelerator.leakage_energy;
  return energy;
}

}  // namespace

ColumnWork walk_columns(const Accelerator& accelerator, const Mapping& mapping, const PaddedShape& shape,
                        const BrickTimes& times) {
  const int chunks = activation_chunks(mapping), visits = mapping.taps * chunks;
  // All filters see the same activations, so a brick takes the same in every batch; on the diagonal a batch has its
  // own.
  const std::int64_t batches = mapping.depthwise ? 1 : mapping.batches();
  const std::int64_t filters = mapping.depthwise ? 1 : mapping.filters;
  const auto lanes_of = [&](int chunk) { return mapping.depthwise ? mapping.rows_of(chunk) : mapping.lanes_of(chunk); };
  const bool ordered = columns_run_ahead(accelerator, mapping);

  ColumnWork result;
  if (mapping.fully_connected) result.brick_cycles.resize(std::size_t(visits));
  std::vector<ColumnWork> parts(static_cast<std::size_t>(thread_count()));
  /// Times of the visits (tap, chunk) of one set of pixels.
  const auto visit = [&](int group, std::int64_t set, ColumnWork& sum, std::vector<std::uint16_t>& column_times) {
    const int columns = mapping.columns_of(set);
    column_times.resize(std::size_t(visits) * columns);
    std::vector<std::ptrdiff_t> offsets(static_cast<std::size_t>(columns));
    std::uint16_t* target = column_times.data();
    for (int tap = 0; tap < mapping.taps; ++tap) {
      for (int c = 0; c < columns; ++c) offsets[c] = shape.offset(tap, mapping.first_pixel(set) + c);
      for (int chunk = 0; chunk < chunks; ++chunk, target += columns) {
        const std::uint16_t* source = times.data() + (std::ptrdiff_t(group) * chunks + chunk) * shape.size();
        std::int64_t longest = 1, all = 0, empty = 0;
        for (int c = 0; c < columns; ++c) {
          const std::uint16_t time = source[offsets[c]];
          empty += time == 0;
          target[c] = std::max<std::uint16_t>(time, 1);
          all += target[c];
          longest = std::max<std::int64_t>(longest, target[c]);
        }
        const std::int64_t slots = lanes_of(chunk) * filters;
        sum.element += all * slots;
        sum.empty += empty * slots;
        if (ordered) continue;
        sum.cycles += longest * batches;
        sum.step += longest * columns * slots;
        if (mapping.fully_connected) result.brick_cycles[tap * chunks + chunk] = std::int32_t(longest);
      }
    }
  };
  if (ordered) {
    ColumnClock clock(mapping.columns, accelerator.column_registers);
    std::vector<std::uint16_t> column_times;
    for (int group = 0; group < mapping.groups; ++group) {
      // the bundles of channels on the diagonal are groups one after another, too
      for (int bundle = 0; bundle < (mapping.depthwise ? mapping.batches() : 1); ++bundle) {
        for (std::int64_t set = 0; set < mapping.pixel_sets(); ++set) {
          ColumnWork again;  // sums are those of the first visit
          visit(group, set, bundle == 0 ? parts[0] : again, column_times);
          const std::size_t columns = std::size_t(mapping.columns_of(set));
          const auto step = [&](int place, std::int64_t slots) {
            clock.step(std::span(column_times).subspan(place * columns, columns), slots);
          };
          for (int batch = 0; batch < batches; ++batch) {
            for (int brick = 0; brick < mapping.bricks(); ++brick) {
              if (mapping.depthwise) {
                step(brick * chunks + bundle, mapping.rows_of(bundle));
              } else {
                step(brick, std::int64_t(mapping.rows_of(batch)) * mapping.lanes_of(brick));
              }
            }
          }
        }
      }
    }
    parts[0].cycles = clock.cycles();
    parts[0].step = parts[0].element + clock.waited();
  } else {
    std::vector<std::vector<std::uint16_t>> buffers(parts.size());
    parallel_for(long(mapping.groups * mapping.pixel_sets()), [&](long task, int thread) {
      visit(int(task / mapping.pixel_sets()), task % mapping.pixel_sets(), parts[thread], buffers[thread]);
    });
  }
  for (const ColumnWork& part : parts) {
    result.cycles += part.cycles;
    result.element += part.element;
    result.step += part.step;
    result.empty += part.empty;
  }
  return result;
}

LayerWork layer_work(const Mapping& mapping, const ColumnWork& columns, std::int64_t busy, std::int64_t useful) {
  LayerWork result;
  result.work = work_of(columns.cycles, useful, busy - useful + columns.empty, columns.element, columns.step);
  for (int batch = 0; mapping.fully_connected && batch < mapping.batches(); ++batch) {
    result.step_cycles.insert(result.step_cycles.end(), columns.brick_cycles.begin(), columns.brick_cycles.end());
  }
  return result;
}

LayerEmulation& LayerEmulation::operator+=(const LayerEmulation& other) {
  cycles += other.cycles;
  compute_cycles += other.compute_cycles;
  memory_cycles += other.memory_cycles;
  slots.total += other.slots.total;
  slots.useful += other.slots.useful;
  slots.edge += other.slots.edge;
  slots.lane += other.slots.lane;
  slots.row_column += other.slots.row_column;
  slots.null_term += other.slots.null_term;
  slots.memory += other.slots.memory;
  zero_bits_known = zero_bits_known && other.zero_bits_known;
  traffic.weights_off_chip += other.traffic.weights_off_chip;
  traffic.activations_off_chip += other.traffic.activations_off_chip;
  traffic.weights_on_chip += other.traffic.weights_on_chip;
  traffic.activations_on_chip += other.traffic.activations_on_chip;
  energy.compute += other.energy.compute;
  energy.on_chip += other.energy.on_chip;
  energy.off_chip += other.energy.off_chip;
  energy.leakage += other.energy.leakage;
  return *this;
}

LayerGeometry layer_geometry(const Network& network, int layer) {
  const Layer& node = network.layers.at(std::size_t(layer));
  const auto* convolution = std::get_if<Convolution>(&node.operation);
  if (!convolution) {
    throw Error("layer '" + node.name + "' cannot be emulated", "it has no weights",
                "take the indices from weighted_layers()");
  }
  LayerGeometry geometry;
  geometry.name = node.name;
  geometry.fully_connected = convolution->fully_connected;
  geometry.filters = convolution->filters;
  geometry.groups = convolution->groups;
  geometry.window = convolution->window;
  geometry.input = network.layers.at(std::size_t(node.inputs.at(0))).output;
  geometry.output = node.output;
  return geometry;
}

LayerEmulation emulate(const Accelerator& accelerator, const LayerTensors& given, Walker* walker) {
  check_layer(accelerator, given);
  const PeerLayer seen(accelerator, given);
  const LayerTensors& layer = seen.tensors;
  const Mapping mapping = map_layer(accelerator, layer.geometry);
  const DesignRule design = design_rule(accelerator, layer);
  std::optional<LayerWork> elsewhere;
  if (walker) elsewhere = walker->walk(accelerator, mapping, layer, design);
  const LayerWork walked =
      elsewhere ? *std::move(elsewhere)
                : std::visit([&](const auto& rule) { return walk(accelerator, mapping, layer, rule, walker); }, design);
  const Work& work = walked.work;

  LayerEmulation result;
  result.zero_bits_known = accelerator.design != Design::stripes || !layer.activations.empty();
  const bool rotating = mapping.fully_connected && accelerator.fc_columns == FullyConnectedColumns::rotate;
  result.compute_cycles = rotating ? rotate(walked.step_cycles, accelerator.columns) : work.cycles;
  result.traffic =
      traffic_of(accelerator, layer, mapping,
                 walked.own_weight_bits ? double(work.weight_bits)
                                        : double(layer.weights.size()) * encoded_weight_bits(accelerator, layer));
  const double bytes_per_cycle = accelerator.off_chip_gbyte_per_s / accelerator.clock_ghz;
  const double memory_cycles =
      std::ceil((result.traffic.weights_off_chip + result.traffic.activations_off_chip) / bytes_per_cycle);
  if (std::max(double(result.compute_cycles), memory_cycles) * double(accelerator.slots_per_cycle()) > 0x1p62) {
    throw Error("layer '" + layer.geometry.name + "' cannot be emulated on " + accelerator.name,
                "its slots times cycles do not fit 64 bits", "take a smaller array or a faster memory");
  }
  result.memory_cycles = std::int64_t(memory_cycles);
  result.cycles = std::max(result.compute_cycles, result.memory_cycles);

  Slots& slots = result.slots;
  const std::int64_t per_column = accelerator.slots_per_cycle() / accelerator.columns;
  slots.total = accelerator.slots_per_cycle() * result.cycles;
  slots.useful = work.useful;
  slots.null_term = work.null_term;
  slots.lane = work.lane;
  slots.row_column = work.row_column;
  if (rotating) {  // columns that ever get a brick wait for each other when they have none
    const std::int64_t used = std::min<std::int64_t>(accelerator.columns, std::int64_t(walked.step_cycles.size()));
    slots.row_column += per_column * (used * result.compute_cycles - work.cycles);
  }
  slots.memory = accelerator.slots_per_cycle() * (result.cycles - result.compute_cycles);
  slots.edge = slots.total - slots.useful - slots.null_term - slots.lane - slots.row_column - slots.memory;
  result.energy = energy_of(accelerator, result);
  return result;
}

}  // namespace bitcluster
