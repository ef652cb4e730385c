#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/emulation/column_clock.hpp"
#include "host/emulation/counting/counting.hpp"

namespace bitcluster {
namespace {

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

/// What one set of pixels takes, and its times in the order of the visits (tap, chunk).
struct Visits {
  ColumnWork work;
  std::vector<std::uint16_t> times;  // (visits, columns)
  std::vector<std::ptrdiff_t> offsets;
};

class ColumnCount {
 public:
  ColumnCount(const Accelerator& accelerator, const Mapping& mapping, const PaddedShape& shape, const BrickTimes& times)
      : accelerator_(accelerator),
        mapping_(mapping),
        shape_(shape),
        times_(times),
        chunks_(activation_chunks(mapping)),
        batches_(mapping.depthwise ? 1 : mapping.batches()),
        filters_(mapping.depthwise ? 1 : mapping.filters) {}

  ColumnWork in_lockstep() const {
    ColumnWork result;
    if (mapping_.fully_connected) result.brick_cycles.resize(std::size_t(mapping_.taps) * chunks_);
    std::vector<Visits> parts(static_cast<std::size_t>(thread_count()));
    parallel_for(long(mapping_.groups * mapping_.pixel_sets()), [&](long task, int thread) {
      const std::int64_t set = task % mapping_.pixel_sets();
      Visits& part = parts[thread];
      visit(int(task / mapping_.pixel_sets()), set, part, [&](int visit, int chunk, int columns, std::int64_t longest) {
        const std::int64_t slots = lanes_of(chunk) * filters_;
        part.work.cycles += longest * batches_;
        part.work.step += longest * columns * slots;
        part.work.edge += mapping_.empty_slots(batches_, columns, slots) * longest;
        if (mapping_.fully_connected) result.brick_cycles[visit] = std::int32_t(longest);
      });
    });
    for (const Visits& part : parts) {
      result.cycles += part.work.cycles;
      result.element += part.work.element;
      result.step += part.work.step;
      result.empty += part.work.empty;
      result.edge += part.work.edge;
    }
    return result;
  }

  ColumnWork run_ahead() const {
    ColumnClock clock(mapping_.columns, accelerator_.column_registers, mapping_.column_slots);
    Visits sum, again;  // sums are those of the first bundle
    for (int group = 0; group < mapping_.groups; ++group) {
      // the bundles of channels on the diagonal are groups one after another, too
      for (int bundle = 0; bundle < (mapping_.depthwise ? mapping_.batches() : 1); ++bundle) {
        for (std::int64_t set = 0; set < mapping_.pixel_sets(); ++set) {
          Visits& visits = bundle == 0 ? sum : again;
          visit(group, set, visits, [](auto...) {});
          step_set(bundle, set, visits, clock);
        }
      }
    }
    sum.work.cycles = clock.cycles();
    sum.work.step = sum.work.element + clock.waited();
    sum.work.edge = clock.empty();
    return sum.work;
  }

 private:
  std::int64_t lanes_of(int chunk) const {
    return mapping_.depthwise ? mapping_.rows_of(chunk) : mapping_.lanes_of(chunk);
  }

  /// Times of the visits of one set of pixels, and what of them does not depend on who waits. All filters see the same
  /// activations, so a brick takes the same in every batch; on the diagonal a batch has its own.
  template <class EndVisit>
  void visit(int group, std::int64_t set, Visits& visits, const EndVisit& end_visit) const {
    const int columns = mapping_.columns_of(set);
    visits.times.resize(std::size_t(mapping_.taps) * chunks_ * columns);
    visits.offsets.resize(std::size_t(columns));
    std::uint16_t* target = visits.times.data();
    for (int tap = 0; tap < mapping_.taps; ++tap) {
      for (int c = 0; c < columns; ++c) visits.offsets[c] = shape_.offset(tap, mapping_.first_pixel(set) + c);
      for (int chunk = 0; chunk < chunks_; ++chunk, target += columns) {
        const std::uint16_t* source = times_.data() + (std::ptrdiff_t(group) * chunks_ + chunk) * shape_.size();
        std::int64_t longest = 1, all = 0, empty = 0;
        for (int c = 0; c < columns; ++c) {
          const std::uint16_t time = source[visits.offsets[c]];
          empty += time == 0;
          target[c] = std::max<std::uint16_t>(time, 1);
          all += target[c];
          longest = std::max<std::int64_t>(longest, target[c]);
        }
        const std::int64_t slots = lanes_of(chunk) * filters_;
        visits.work.element += all * slots;
        visits.work.empty += empty * slots;
        end_visit(tap * chunks_ + chunk, chunk, columns, longest);
      }
    }
  }

  /// The steps of one set of pixels, one after another.
  void step_set(int bundle, std::int64_t set, const Visits& visits, ColumnClock& clock) const {
    const std::size_t columns = std::size_t(mapping_.columns_of(set));
    const auto step = [&](int visit, std::int64_t slots) {
      clock.step(std::span(visits.times).subspan(visit * columns, columns), slots);
    };
    for (int batch = 0; batch < batches_; ++batch) {
      for (int brick = 0; brick < mapping_.bricks(); ++brick) {
        if (mapping_.depthwise) {
          step(brick * chunks_ + bundle, mapping_.rows_of(bundle));
        } else {
          step(brick, std::int64_t(mapping_.rows_of(batch)) * mapping_.lanes_of(brick));
        }
      }
    }
  }

  const Accelerator& accelerator_;
  const Mapping& mapping_;
  const PaddedShape& shape_;
  const BrickTimes& times_;
  const int chunks_;
  const std::int64_t batches_, filters_;
};

}  // namespace

ColumnWork count_columns(const Accelerator& accelerator, const Mapping& mapping, const PaddedShape& shape,
                         const BrickTimes& times) {
  const ColumnCount count(accelerator, mapping, shape, times);
  return columns_run_ahead(accelerator, mapping) ? count.run_ahead() : count.in_lockstep();
}

LayerWork layer_work(const Mapping& mapping, const ColumnWork& columns, std::int64_t busy, std::int64_t useful) {
  LayerWork result;
  result.work =
      work_of(columns.cycles, useful, busy - useful + columns.empty, columns.element, columns.step, columns.edge);
  for (int batch = 0; mapping.fully_connected && batch < mapping.batches(); ++batch) {
    result.step_cycles.insert(result.step_cycles.end(), columns.brick_cycles.begin(), columns.brick_cycles.end());
  }
  return result;
}

LayerWork count_steps(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                      const ActivationRule& rule) {
  const PaddedImage image(layer, rule.operands);
  const ColumnWork columns = count_columns(accelerator, mapping, image.shape(), brick_times(mapping, image, rule));
  return layer_work(mapping, columns, operand_products(layer, rule.busy, {}),
                    operand_products(layer, rule.useful, rule.weight_terms));
}

}  // namespace bitcluster
