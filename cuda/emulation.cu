#include <algorithm>
#include <span>
#include <variant>
#include <vector>

#include "cuda/emulation.hpp"
#include "cuda/emulation_kernels.cuh"
#include "host/emulation/counting/counting.hpp"

namespace bitcluster {
namespace {

class CudaStepCounter : public StepCounter {
 public:
  CudaStepCounter(int device, std::int64_t step_pixels) : device_(device), step_pixels_(step_pixels) {
    check(cudaSetDevice(device));
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device));
    multiprocessors_ = properties.multiProcessorCount;
    cudaMemPool_t pool = nullptr;  // what one layer gives back serves the next
    check(cudaDeviceGetDefaultMemPool(&pool, device));
    std::uint64_t kept = ~std::uint64_t(0);
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept));
    stream_.emplace();
  }

  std::optional<LayerWork> count(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                                 const DesignRule& rule) override {
    check(cudaSetDevice(device_));
    if (const auto* weights = std::get_if<WeightRule>(&rule)) return count_weights(mapping, layer, *weights);
    if (const auto* columns = std::get_if<ActivationRule>(&rule))
      return count_activations(accelerator, mapping, layer, *columns);
    if (const auto* pairs = std::get_if<PairRule>(&rule)) return count_pairs(mapping, layer, *pairs);
    return std::nullopt;
  }

  /// Limit: as count_activations(), but of every row of a step for itself: some 50 operations per lane, row and pixel.
  std::optional<ScheduledWork> count_schedule(const Accelerator& accelerator, const Mapping& mapping,
                                              const LayerTensors& layer, const ActivationRule& behind,
                                              const ScheduledSteps& steps) override {
    check(cudaSetDevice(device_));
    const PaddedShape shape(layer.geometry);
    const bool ahead = columns_run_ahead(accelerator, mapping);
    const DeviceArray<std::uint16_t> padded(std::size_t(shape.channels) * shape.size(), *stream_);
    {
      const DeviceArray<std::int16_t> image = to_device(layer.activations);
      const DeviceArray<std::uint16_t> table = to_device(behind.operands);
      launch(pad_operands, blocks_for(std::int64_t(padded.size())), threads_per_block, 0, *stream_, shape, image.data(),
             table.data(), padded.data());
    }
    const auto rows = to_device(std::span<const ScheduledSteps::Row>(steps.rows));
    const auto sources = to_device(std::span<const std::uint32_t>(steps.sources));
    const auto slots = to_device(std::span<const std::int64_t>(steps.slots));
    const DeviceArray<Total> totals = zeros(column_totals);
    const std::int64_t count = std::int64_t(steps.slots.size());
    const DeviceArray<int> step_cycles(mapping.fully_connected ? std::size_t(count) : 0, *stream_);
    ScheduledWork result;
    if (ahead) result.column_times.resize(std::size_t(count * mapping.pixels));
    const auto [per_block, shared] = pending_terms(behind.reach ? mapping.lanes : 0);
    const std::int64_t at_once = std::clamp<std::int64_t>(step_pixels_ / mapping.pixels, 1, count);
    const DeviceArray<int> longest(std::size_t(at_once * mapping.pixels), *stream_);
    const DeviceArray<std::uint16_t> column_times(ahead ? longest.size() : 0, *stream_);
    for (std::int64_t first = 0; first < count; first += at_once) {
      const std::int64_t here = std::min(at_once, count - first);
      const auto row_of = [&](std::int64_t step) {
        return std::partition_point(steps.rows.begin(), steps.rows.end(),
                                    [&](const ScheduledSteps::Row& row) { return row.step < step; }) -
               steps.rows.begin();
      };
      const std::int64_t first_row = row_of(first), row_count = row_of(first + here) - first_row;
      check(cudaMemsetAsync(longest.data(), 0, longest.size() * sizeof(int), *stream_));
      if (row_count > 0) {
        launch(row_times,
               unsigned(std::min<std::int64_t>(ceil_div(row_count * mapping.pixels, per_block), multiprocessors_ * 16)),
               threads_per_block, shared, *stream_, shape, padded.data(), rows.data() + first_row, row_count,
               sources.data(), unsigned(behind.reach), per_block, int(first), longest.data(), totals.data());
      }
      launch(step_maxima, blocks_for(here * mapping.pixel_sets() * 32), threads_per_block, 0, *stream_, mapping, here,
             slots.data() + first, longest.data(), mapping.fully_connected ? step_cycles.data() + first : nullptr,
             column_times.data(), totals.data());
      if (ahead) {
        check(cudaMemcpyAsync(result.column_times.data() + first * mapping.pixels, column_times.data(),
                              std::size_t(here * mapping.pixels) * sizeof(std::uint16_t), cudaMemcpyDeviceToHost,
                              *stream_));
      }
    }
    result.columns = column_work(to_host(totals));
    result.columns.brick_cycles = to_host(step_cycles);
    return result;
  }

 private:
  static ColumnWork column_work(const std::vector<Total>& sums) {
    ColumnWork work;
    work.cycles = std::int64_t(sums[column_cycles]);
    work.element = std::int64_t(sums[column_element]);
    work.step = std::int64_t(sums[column_step]);
    work.empty = std::int64_t(sums[column_empty]);
    work.edge = sums[column_edge];
    return work;
  }

  template <class T>
  DeviceArray<T> to_device(std::span<const T> values) const {
    return {values.data(), values.size(), *stream_};
  }
  DeviceArray<std::uint16_t> to_device(const OperandTable& table) const {
    return to_device(std::span<const std::uint16_t>(table));
  }
  template <class T>
  std::vector<T> to_host(const DeviceArray<T>& values) const {
    std::vector<T> result(values.size());
    if (!result.empty()) {
      check(cudaMemcpyAsync(result.data(), values.data(), result.size() * sizeof(T), cudaMemcpyDeviceToHost, *stream_));
    }
    stream_->wait();
    return result;
  }
  DeviceArray<Total> zeros(std::size_t count) const {
    DeviceArray<Total> result(count, *stream_);
    check(cudaMemsetAsync(result.data(), 0, count * sizeof(Total), *stream_));
    return result;
  }
  /// Blocks for `count` threads that take turns: enough to fill the device.
  unsigned blocks_for(std::int64_t count) const {
    return std::min(blocks_of(std::size_t(count), threads_per_block), unsigned(multiprocessors_) * 16);
  }

  /// Limit: 2 bytes per weight, once over the bus (the kernel reads them again, at the device's own bandwidth).
  LayerWork count_weights(const Mapping& mapping, const LayerTensors& layer, const WeightRule& rule) const {
    const DeviceArray<std::int16_t> weights = to_device(layer.weights);
    const DeviceArray<std::uint16_t> table = to_device(rule.operands);
    const int bricks = mapping.bricks(), batches = mapping.batches();
    const DeviceArray<int> longest(std::size_t(mapping.groups) * batches * bricks, *stream_);
    check(cudaMemsetAsync(longest.data(), 0x80, longest.size() * sizeof(int), *stream_));  // below any count
    const DeviceArray<Total> totals = zeros(brick_totals);
    std::visit(
        [&](const auto& design) {
          const bool pending = std::is_same_v<decltype(design), const PragmaticBricks&>;
          const auto [per_block, shared] = pending_terms(pending ? std::min(mapping.lanes, mapping.along_lanes()) : 0);
          const std::int64_t blocks = ceil_div(std::int64_t(mapping.groups) * mapping.filters * bricks, per_block);
          launch(brick_costs<std::decay_t<decltype(design)>>,
                 unsigned(std::min<std::int64_t>(blocks, multiprocessors_ * 16)), threads_per_block, shared, *stream_,
                 mapping, design, weights.data(), table.data(), per_block, longest.data(), totals.data());
        },
        rule.design);
    const std::vector<Total> sums = to_host(totals);
    const std::vector<int> steps = to_host(longest);
    const std::int64_t sets = mapping.pixel_sets(), filled_columns = mapping.filled_columns();
    std::int64_t cycles = 0, slots = 0;
    std::uint64_t edge = 0;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const int batch = int(i / bricks % batches), brick = int(i % bricks);
      cycles += steps[i];
      const std::int64_t filled = std::int64_t(mapping.rows_of(batch)) * rule.slots(mapping.lanes_of(brick));
      slots += steps[i] * filled;
      edge += mapping.empty_slots(sets, filled_columns, filled) * steps[i];
    }
    // the same for every set of pixels, and for every pixel of a set
    const auto of_pixels = [&](std::int64_t sum) { return sum * mapping.pixels; };
    LayerWork result;
    result.work =
        work_of(cycles * sets, of_pixels(std::int64_t(sums[brick_useful])), of_pixels(std::int64_t(sums[brick_null])),
                of_pixels(std::int64_t(sums[brick_element])), of_pixels(slots), edge);
    result.work.weight_bits = std::int64_t(sums[brick_bits]);
    result.own_weight_bits = result.work.weight_bits > 0;
    if (mapping.fully_connected) result.step_cycles.assign(steps.begin(), steps.end());
    return result;
  }

  /// Limit: 2 bytes per activation over the bus, then one lookup per activation and one per tap and pixel of a brick
  /// (times) and of a channel (operand_sums).
  LayerWork count_activations(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                              const ActivationRule& rule) const {
    const PaddedShape shape(layer.geometry);
    const DeviceArray<std::int16_t> image = to_device(layer.activations);
    const DeviceArray<std::uint16_t> table = to_device(rule.operands);
    const int chunks = activation_chunks(mapping);
    const DeviceArray<std::uint16_t> times(std::size_t(mapping.groups) * chunks * shape.size(), *stream_);
    const int lanes = mapping.depthwise ? mapping.rows : std::min(mapping.lanes, mapping.channels);
    const auto [per_block, shared] = pending_terms(rule.reach ? lanes : 0);
    launch(brick_times, blocks_of(times.size(), std::size_t(per_block)), threads_per_block, shared, *stream_, mapping,
           shape, image.data(), table.data(), unsigned(rule.reach), per_block, times.data());

    const DeviceArray<Total> busy = zeros(std::size_t(shape.channels) * shape.taps()), useful = zeros(busy.size());
    {
      const DeviceArray<std::uint16_t> busy_table = to_device(rule.busy), useful_table = to_device(rule.useful);
      sum_operands(shape, image, busy_table.data(), useful_table.data(), busy.data(), useful.data());
    }
    const DeviceArray<std::int16_t> weights =
        rule.weight_terms.empty() ? DeviceArray<std::int16_t>() : to_device(layer.weights);
    const DeviceArray<Total> busy_total = products(layer, busy, weights, {}),
                             useful_total = products(layer, useful, weights, rule.weight_terms);
    ColumnWork columns;
    if (columns_run_ahead(accelerator, mapping)) {
      columns = count_columns(accelerator, mapping, shape, to_host(times));
    } else {
      const DeviceArray<Total> totals = zeros(column_totals);
      const DeviceArray<int> brick_cycles(mapping.fully_connected ? std::size_t(chunks) : 0, *stream_);
      launch(column_maxima, blocks_for(mapping.pixel_sets() * mapping.taps * mapping.groups * chunks * 32),
             threads_per_block, 0, *stream_, mapping, shape, times.data(), brick_cycles.data(), totals.data());
      columns = column_work(to_host(totals));
      columns.brick_cycles = to_host(brick_cycles);
    }
    return layer_work(mapping, columns, std::int64_t(to_host(busy_total)[0]), std::int64_t(to_host(useful_total)[0]));
  }

  /// Limit: one multiplication and one maximum per two products (2 * 64 of each per clock and multiprocessor where the
  /// maximum of packed 16 bits is one instruction, compute capability 9.0; several below it).
  LayerWork count_pairs(const Mapping& mapping, const LayerTensors& layer, const PairRule& rule) const {
    const PaddedShape shape(layer.geometry);
    const DeviceArray<std::int16_t> image = to_device(layer.activations), weights = to_device(layer.weights);
    const DeviceArray<std::uint16_t> table = to_device(rule.operands);
    const DeviceArray<Total> totals = zeros(pair_totals);
    const std::int64_t sets = mapping.pixel_sets();
    const int bricks = mapping.bricks(), batches = mapping.batches();
    const DeviceArray<int> step_cycles(mapping.fully_connected ? std::size_t(mapping.steps()) : 0, *stream_);
    if (mapping.depthwise) {
      launch(diagonal_steps, blocks_for(sets * mapping.taps * batches * 32), threads_per_block, 0, *stream_, mapping,
             shape, image.data(), weights.data(), table.data(), totals.data());
    } else {
      const int quads = int(ceil_div(std::min(mapping.lanes, mapping.channels), 4));
      const int octets = int(ceil_div(mapping.rows, 8));
      const DeviceArray<ushort4> activations(
          std::size_t(mapping.groups) * mapping.chunks() * std::size_t(shape.size()) * quads, *stream_);
      launch(pack_activations, blocks_for(std::int64_t(activations.size())), threads_per_block, 0, *stream_, mapping,
             shape, image.data(), table.data(), quads, activations.data());
      const DeviceArray<uint2> rows(std::size_t(mapping.groups) * batches * bricks * 4 * quads * octets, *stream_);
      launch(pack_rows, blocks_for(std::int64_t(rows.size())), threads_per_block, 0, *stream_, mapping, weights.data(),
             table.data(), quads, octets, rows.data());
      int column_groups = 1;  // columns first, then rows: a warp has 32 groups
      while (column_groups < 32 && 4 * column_groups < mapping.columns) column_groups *= 2;
      const std::int64_t tasks = sets * batches * mapping.groups;  // of a warp; split until there are enough
      const int splits = int(std::clamp<std::int64_t>(ceil_div(multiprocessors_ * 64, tasks), 1, bricks));
      launch(pair_steps, blocks_for(tasks * splits * 32), threads_per_block, 0, *stream_, mapping, shape,
             activations.data(), rows.data(), quads, octets, column_groups, splits, step_cycles.data(), totals.data());
    }
    const DeviceArray<Total> operands = zeros(std::size_t(shape.channels) * shape.taps());
    sum_operands(shape, image, table.data(), nullptr, operands.data(), nullptr);
    const std::int64_t useful = std::int64_t(to_host(products(layer, operands, weights, rule.operands))[0]);

    const std::vector<Total> sums = to_host(totals);
    // an element without any pair of terms takes one cycle
    const std::int64_t null_term =
        std::int64_t(layer.weights.size()) * mapping.pixels - std::int64_t(sums[pair_filled]);
    LayerWork result;
    result.work = work_of(std::int64_t(sums[pair_cycles]), useful, null_term, std::int64_t(sums[pair_sum]) + null_term,
                          std::int64_t(sums[pair_step]), sums[pair_edge]);
    result.step_cycles = to_host(step_cycles);
    return result;
  }

  struct PendingTerms {
    int per_block;       //!< bricks
    std::size_t shared;  //!< [byte]
  };
  /// How many bricks of `lanes` lanes a block takes, so that their pending terms fit 48 KiB of shared memory, which
  /// every device has; 0 lanes: none are pending.
  static PendingTerms pending_terms(int lanes) {
    if (lanes == 0) return {threads_per_block, 0};
    constexpr int most_bytes = 48 << 10;
    const int per_block = std::min(threads_per_block, most_bytes / (2 * lanes));
    return {per_block, std::size_t(per_block) * lanes * sizeof(std::uint16_t)};
  }

  void sum_operands(const PaddedShape& shape, const DeviceArray<std::int16_t>& image, const std::uint16_t* table,
                    const std::uint16_t* other_table, Total* sums, Total* other_sums) const {
    const std::int64_t warps = ceil_div(shape.pixels(), pixels_per_warp) * shape.channels * shape.taps();
    launch(operand_sums, blocks_for(warps * 32), threads_per_block, 0, *stream_, shape, image.data(), table,
           other_table, sums, other_sums);
  }

  /// operand_products() of mapping.cpp, from the sums of the activations' operands.
  DeviceArray<Total> products(const LayerTensors& layer, const DeviceArray<Total>& sums,
                              const DeviceArray<std::int16_t>& weights, const OperandTable& weight_operands) const {
    const LayerGeometry& geometry = layer.geometry;
    const int filters = geometry.filters / geometry.groups;
    DeviceArray<Total> total = zeros(1);
    if (weight_operands.empty()) {  // every channel meets the filters of its group
      launch(sum_up, blocks_for(std::int64_t(sums.size())), threads_per_block, 0, *stream_, std::int64_t(sums.size()),
             sums.data(), filters, total.data());
    } else {
      const DeviceArray<std::uint16_t> table = to_device(weight_operands);
      launch(weight_products, blocks_for(std::int64_t(weights.size())), threads_per_block, 0, *stream_,
             std::int64_t(weights.size()), std::int64_t(sums.size()) / geometry.groups, filters, weights.data(),
             table.data(), sums.data(), total.data());
    }
    return total;
  }

  int device_;
  std::int64_t step_pixels_;
  int multiprocessors_ = 1;
  std::optional<Stream> stream_;  // of device_
};

}  // namespace

std::unique_ptr<StepCounter> make_cuda_step_counter(int device, std::int64_t step_pixels) {
  return std::make_unique<CudaStepCounter>(device, step_pixels);
}

}  // namespace bitcluster
