#pragma once

// What host/emulation/counting/ counts, as kernels: every value of a layer is looked up in the design's table where
// it lies, and what the rules ask of it is reduced to sums. All of it is integers, so no order of additions matters.

#include <cstdint>

#include "cuda/instructions.cuh"
#include "cuda/runtime.cuh"
#include "host/emulation/step_counter.hpp"

namespace bitcluster {

inline constexpr int threads_per_block = 128;  // whole warps
using Total = unsigned long long;

/// Adds the values of all threads to totals[0..count). Every thread of the block calls it, once per kernel.
template <int count>
__device__ void add_to_totals(const std::int64_t (&values)[count], Total* totals) {
  __shared__ Total sums[count];
  if (threadIdx.x < count) sums[threadIdx.x] = 0;
  __syncthreads();
  for (int i = 0; i < count; ++i) {
    Total sum = Total(values[i]);
    for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0) atomicAdd(sums + i, sum);
  }
  __syncthreads();
  if (threadIdx.x < count) atomicAdd(totals + threadIdx.x, sums[threadIdx.x]);
}

__device__ inline std::int64_t thread_of_grid() { return std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline std::int64_t threads_of_grid() { return std::int64_t(gridDim.x) * blockDim.x; }

/// The operand at a position of a padded channel.
__device__ inline std::uint16_t operand_at(const PaddedShape& shape, const std::int16_t* channel, std::int64_t position,
                                           const std::uint16_t* table) {
  const std::int64_t y = position / shape.width() - shape.window.pad_top;
  const std::int64_t x = position % shape.width() - shape.window.pad_left;
  const bool inside = y >= 0 && x >= 0 && y < shape.input_height && x < shape.input_width;
  return table[inside ? std::uint16_t(channel[y * shape.input_width + x]) : 0];
}

__device__ inline const std::int16_t* channel_of(const PaddedShape& shape, const std::int16_t* image, int channel) {
  return image + std::int64_t(channel) * shape.input_height * shape.input_width;
}

// ---------------------------------------------------------------- designs that are serial on weights

/// A brick's weights where they lie, as the design sees them.
struct BrickOperands {
  const std::int16_t* weights;
  std::int64_t stride;
  const std::uint16_t* table;
  int lanes;

  __device__ unsigned operator[](int lane) const { return table[std::uint16_t(weights[lane * stride])]; }
};

/// Cycles of Pragmatic's shifting (see pragmatic_columns() of designs/pragmatic.cpp) on `count` lanes, `stride` apart;
/// `any` is their union.
__device__ inline int pragmatic_cycles(std::uint16_t* pending, int stride, int count, unsigned any, unsigned reach) {
  int cycles = 0;
  for (; any; ++cycles) {
    const unsigned window = (any & (0u - any)) * reach;
    any = 0;
    for (int l = 0; l < count; ++l) {
      const unsigned before = pending[l * stride];
      const unsigned left = before ^ (before & (0u - before) & window);
      pending[l * stride] = std::uint16_t(left);
      any |= left;
    }
  }
  return cycles;
}

__device__ inline BrickCost cost_of(const PragmaticBricks& design, const BrickOperands& operands,
                                    std::uint16_t* pending, int stride) {
  unsigned any = 0;
  int terms = 0;
  for (int l = 0; l < operands.lanes; ++l) {
    const unsigned mask = operands[l];
    pending[l * stride] = std::uint16_t(mask);
    any |= mask;
    terms += count_ones(mask);
  }
  return design.cost(pragmatic_cycles(pending, stride, operands.lanes, any, design.reach), terms, operands.lanes);
}

__device__ inline BrickCost cost_of(const BitwaveBricks& design, const BrickOperands& operands, std::uint16_t*, int) {
  unsigned any = 0;
  int ones = 0;
  for (int l = 0; l < operands.lanes; ++l) {
    const unsigned mask = operands[l];
    any |= mask;
    ones += count_ones(mask & ~unsigned(design.sign));
  }
  return design.cost(std::uint16_t(any), ones, operands.lanes);
}

/// Bitlet and BitVert count the ones of every position.
template <class Design>
__device__ BrickCost cost_of(const Design& design, const BrickOperands& operands, std::uint16_t*, int) {
  int ones[16] = {};
  for (int l = 0; l < operands.lanes; ++l) {
    const unsigned mask = operands[l];
    for (int position = 0; position < 16; ++position) ones[position] += int(mask >> position & 1);
  }
  return design.cost(ones, operands.lanes);
}

enum BrickTotal { brick_useful, brick_null, brick_bits, brick_element, brick_totals };

/// A thread per brick, `per_block` of them in a block, whose pending terms are in dynamic shared memory (Pragmatic).
/// longest: of a batch's rows, (groups * batches, bricks).
template <class Design>
__global__ void brick_costs(Mapping mapping, Design design, const std::int16_t* weights, const std::uint16_t* table,
                            int per_block, int* longest, Total* totals) {
  std::uint16_t* pending = reinterpret_cast<std::uint16_t*>(dynamic_shared()) + threadIdx.x;
  const int bricks = mapping.bricks(), chunks = mapping.chunks(), outers = bricks / chunks;
  const std::int64_t filter_size = std::int64_t(mapping.channels) * mapping.taps;
  const std::int64_t count = std::int64_t(mapping.groups) * mapping.filters * bricks;
  std::int64_t sums[brick_totals] = {};
  for (std::int64_t item = std::int64_t(blockIdx.x) * per_block + threadIdx.x;
       item < count && int(threadIdx.x) < per_block; item += std::int64_t(gridDim.x) * per_block) {
    // neighbours take the taps of the same channels, which lie side by side
    const int place = int(item % bricks), brick = place % outers * chunks + place / outers;
    const std::int64_t filter = item / bricks;
    const int group = int(filter / mapping.filters), batch = int(filter % mapping.filters) / mapping.rows;
    const KernelPosition first = mapping.kernel_position(brick, 0);
    const BrickOperands operands = {
        weights + filter * filter_size + std::int64_t(first.channel) * mapping.taps + first.tap,
        mapping.taps_on_lanes ? 1 : mapping.taps, table, mapping.lanes_of(brick)};
    const BrickCost cost = cost_of(design, operands, pending, per_block);
    atomicMax(longest + (std::int64_t(group) * mapping.batches() + batch) * bricks + brick, cost.cycles);
    sums[brick_useful] += cost.useful;
    sums[brick_null] += cost.null_term;
    sums[brick_bits] += cost.bits;
    sums[brick_element] += std::int64_t(cost.cycles) * design.slots(operands.lanes);
  }
  add_to_totals(sums, totals);
}

// ---------------------------------------------------------------- designs that are serial on activations

/// brick_times() of counting/activations.cpp, a thread per position, `per_block` of them in a block.
__global__ void brick_times(Mapping mapping, PaddedShape shape, const std::int16_t* image, const std::uint16_t* table,
                            unsigned reach, int per_block, std::uint16_t* times) {
  std::uint16_t* pending = reinterpret_cast<std::uint16_t*>(dynamic_shared()) + threadIdx.x;
  const int chunks = activation_chunks(mapping);
  const std::int64_t item = std::int64_t(blockIdx.x) * per_block + threadIdx.x;
  const std::int64_t place = item / shape.size(), position = item % shape.size();
  if (int(threadIdx.x) >= per_block || place >= std::int64_t(mapping.groups) * chunks) return;
  const int group = int(place / chunks), chunk = int(place % chunks);
  const int lanes = mapping.depthwise ? mapping.rows_of(chunk) : mapping.lanes_of(chunk);
  unsigned any = 0, widest = 0;
  for (int l = 0; l < lanes; ++l) {
    const int channel = mapping.depthwise ? mapping.input_channel(chunk * mapping.rows + l, 0)
                                          : group * mapping.channels + chunk * mapping.lanes + l;
    const std::uint16_t value = operand_at(shape, channel_of(shape, image, channel), position, table);
    if (reach) pending[l * per_block] = value;
    any |= value;
    widest = value > widest ? value : widest;
  }
  times[item] = std::uint16_t(reach ? pragmatic_cycles(pending, per_block, lanes, any, reach) : widest);
}

enum ColumnTotal { column_cycles, column_element, column_step, column_empty, column_edge, column_totals };

/// count_columns() in lockstep, a warp per visit (group, chunk, tap, set of pixels).
/// brick_cycles: of a fully connected layer, else null.
__global__ void column_maxima(Mapping mapping, PaddedShape shape, const std::uint16_t* times, int* brick_cycles,
                              Total* totals) {
  const int lane = int(threadIdx.x % 32), chunks = activation_chunks(mapping);
  const std::int64_t batches = mapping.depthwise ? 1 : mapping.batches();
  const std::int64_t filters = mapping.depthwise ? 1 : mapping.filters;
  const std::int64_t sets = mapping.pixel_sets(), visits = sets * mapping.taps * chunks * mapping.groups;
  std::int64_t sums[column_totals] = {};
  for (std::int64_t visit = thread_of_grid() / 32; visit < visits; visit += threads_of_grid() / 32) {
    const std::int64_t set = visit % sets, place = visit / sets / mapping.taps;  // (group, chunk)
    const int tap = int(visit / sets % mapping.taps), chunk = int(place % chunks);
    const int columns = mapping.columns_of(set);
    const std::int64_t first = mapping.first_pixel(set);
    int longest = 1;
    std::int64_t all = 0, empty = 0;
    for (int c = lane; c < columns; c += 32) {
      const int time = times[place * shape.size() + shape.offset(tap, first + c)];
      longest = time > longest ? time : longest;
      all += time ? time : 1;
      empty += time == 0;
    }
    longest = __reduce_max_sync(0xffffffffu, longest);
    const std::int64_t slots = (mapping.depthwise ? mapping.rows_of(chunk) : mapping.lanes_of(chunk)) * filters;
    sums[column_element] += all * slots;
    sums[column_empty] += empty * slots;
    if (lane > 0) continue;
    sums[column_cycles] += longest * batches;
    sums[column_step] += longest * columns * slots;
    sums[column_edge] += std::int64_t(mapping.empty_slots(batches, columns, slots) * longest);
    if (brick_cycles) brick_cycles[tap * chunks + chunk] = longest;
  }
  add_to_totals(sums, totals);
}

/// Operands behind the padding, (channels, h, w).
__global__ void pad_operands(PaddedShape shape, const std::int16_t* image, const std::uint16_t* table,
                             std::uint16_t* padded) {
  const std::int64_t size = shape.size(), count = shape.channels * size;
  for (std::int64_t i = thread_of_grid(); i < count; i += threads_of_grid()) {
    padded[i] = operand_at(shape, channel_of(shape, image, int(i / size)), i % size, table);
  }
}

/// Bit-Tactical's rows of steps, a thread per (row, pixel), `per_block` of them in a block. longest: of a step's rows,
/// (steps from first_step on, pixels).
__global__ void row_times(PaddedShape shape, const std::uint16_t* padded, const ScheduledSteps::Row* rows,
                          std::int64_t row_count, const std::uint32_t* sources, unsigned reach, int per_block,
                          int first_step, int* longest, Total* totals) {
  std::uint16_t* pending = reinterpret_cast<std::uint16_t*>(dynamic_shared()) + threadIdx.x;
  const std::int64_t pixels = shape.pixels(), count = row_count * pixels;
  std::int64_t sums[column_totals] = {};
  for (std::int64_t item = std::int64_t(blockIdx.x) * per_block + threadIdx.x;
       item < count && int(threadIdx.x) < per_block; item += std::int64_t(gridDim.x) * per_block) {
    const ScheduledSteps::Row row = rows[item / pixels];
    const std::int64_t pixel = item % pixels, position = shape.offset(0, pixel);
    unsigned any = 0, time = 0;
    for (int l = 0; l < row.lanes; ++l) {
      const unsigned value = padded[sources[row.source + l] + position];
      if (reach) pending[l * per_block] = std::uint16_t(value);
      any |= value;
      time = value > time ? value : time;
    }
    if (reach) time = unsigned(pragmatic_cycles(pending, per_block, row.lanes, any, reach));
    atomicMax(longest + (row.step - first_step) * pixels + pixel, int(time));
    const std::int64_t slots = std::int64_t(row.rows) * row.lanes;
    sums[column_element] += (time ? time : 1) * slots;
    sums[column_empty] += time ? 0 : slots;
  }
  add_to_totals(sums, totals);
}

/// Then what the columns do, a warp per (step, set of pixels). slots: of one column, (steps). step_cycles of a fully
/// connected layer and column_times of columns that run ahead, (steps, pixels); else null.
__global__ void step_maxima(Mapping mapping, std::int64_t steps, const std::int64_t* slots, const int* longest,
                            int* step_cycles, std::uint16_t* column_times, Total* totals) {
  const int lane = int(threadIdx.x % 32);
  const std::int64_t sets = mapping.pixel_sets(), count = steps * sets;
  std::int64_t sums[column_totals] = {};
  for (std::int64_t item = thread_of_grid() / 32; item < count; item += threads_of_grid() / 32) {
    const std::int64_t step = item / sets, set = item % sets;
    const std::int64_t first = step * mapping.pixels + mapping.first_pixel(set);
    const int columns = mapping.columns_of(set);
    int most = 1;
    for (int c = lane; c < columns; c += 32) {
      const int time = longest[first + c] > 1 ? longest[first + c] : 1;
      most = time > most ? time : most;
      if (!column_times) continue;
      column_times[first + c] = std::uint16_t(time);
      sums[column_step] += time * slots[step];
    }
    most = __reduce_max_sync(0xffffffffu, most);
    if (lane > 0 || column_times) continue;
    sums[column_cycles] += most;
    sums[column_step] += std::int64_t(most) * columns * slots[step];
    sums[column_edge] += std::int64_t(mapping.empty_slots(1, columns, slots[step]) * most);
    if (step_cycles) step_cycles[step] = most;
  }
  add_to_totals(sums, totals);
}

inline constexpr int pixels_per_warp = 1024;  //!< of operand_sums()

/// operand_sums() of mapping.hpp for one or two tables at once, to which it adds; a warp per some pixels of a
/// (channel, tap).
__global__ void operand_sums(PaddedShape shape, const std::int16_t* image, const std::uint16_t* table,
                             const std::uint16_t* other_table, Total* sums, Total* other_sums) {
  const std::int64_t parts = ceil_div(shape.pixels(), pixels_per_warp);
  const std::int64_t count = parts * shape.channels * shape.taps();
  for (std::int64_t item = thread_of_grid() / 32; item < count; item += threads_of_grid() / 32) {
    const std::int64_t place = item / parts, begin = item % parts * pixels_per_warp;
    const std::int64_t end = begin + pixels_per_warp < shape.pixels() ? begin + pixels_per_warp : shape.pixels();
    const std::int16_t* channel = channel_of(shape, image, int(place / shape.taps()));
    const int tap = int(place % shape.taps());
    unsigned sum = 0, other = 0;  // 1024 operands of 16 bits fit 32
    for (std::int64_t pixel = begin + threadIdx.x % 32; pixel < end; pixel += 32) {
      const std::int64_t position = shape.offset(tap, pixel);
      sum += operand_at(shape, channel, position, table);
      if (other_table) other += operand_at(shape, channel, position, other_table);
    }
    sum = __reduce_add_sync(0xffffffffu, sum);
    other = __reduce_add_sync(0xffffffffu, other);
    if (threadIdx.x % 32 > 0) continue;
    atomicAdd(sums + place, Total(sum));
    if (other_table) atomicAdd(other_sums + place, Total(other));
  }
}

/// Sum over all weights of what operand_sums() found for their place times their own operand.
__global__ void weight_products(std::int64_t count, std::int64_t filter_size, int filters_per_group,
                                const std::int16_t* weights, const std::uint16_t* table, const Total* sums,
                                Total* total) {
  std::int64_t mine[1] = {};
  for (std::int64_t i = thread_of_grid(); i < count; i += threads_of_grid()) {
    const std::int64_t group = i / filter_size / filters_per_group;
    mine[0] += std::int64_t(sums[group * filter_size + i % filter_size]) * table[std::uint16_t(weights[i])];
  }
  add_to_totals(mine, total);
}

/// Sum of all values, times `factor`.
__global__ void sum_up(std::int64_t count, const Total* values, int factor, Total* total) {
  std::int64_t mine[1] = {};
  for (std::int64_t i = thread_of_grid(); i < count; i += threads_of_grid())
    mine[0] += std::int64_t(values[i]) * factor;
  add_to_totals(mine, total);
}

// ---------------------------------------------------------------- designs that are serial on both

/// Operands side by side on the lanes, in fours, zeros where there is no lane: (groups, chunks, h, w, quads).
__global__ void pack_activations(Mapping mapping, PaddedShape shape, const std::int16_t* image,
                                 const std::uint16_t* table, int quads, ushort4* packed) {
  const int chunks = mapping.chunks();
  const std::int64_t size = shape.size(), count = std::int64_t(mapping.groups) * chunks * quads * size;
  for (std::int64_t i = thread_of_grid(); i < count; i += threads_of_grid()) {
    const std::int64_t position = i % size, place = i / size / quads;
    const int quad = int(i / size % quads), chunk = int(place % chunks), lanes = mapping.lanes_of(chunk);
    const int first = int(place / chunks) * mapping.channels + chunk * mapping.lanes;
    const auto operand = [&](int lane) -> unsigned short {
      return lane < lanes ? operand_at(shape, channel_of(shape, image, first + lane), position, table) : 0;
    };
    packed[(place * size + position) * quads + quad] = {operand(4 * quad), operand(4 * quad + 1), operand(4 * quad + 2),
                                                        operand(4 * quad + 3)};
  }
}

/// Operands of eight rows side by side, zeros where there is no lane or row:
/// (groups * batches, bricks, 4 * quads, octets) of eight bytes.
__global__ void pack_rows(Mapping mapping, const std::int16_t* weights, const std::uint16_t* table, int quads,
                          int octets, uint2* packed) {
  const int taps = mapping.taps, lanes = 4 * quads, chunks = mapping.chunks(), batches = mapping.batches();
  const std::int64_t filter_size = std::int64_t(mapping.channels) * taps;
  const std::int64_t count = std::int64_t(mapping.groups) * batches * octets * chunks * lanes * taps;
  for (std::int64_t i = thread_of_grid(); i < count; i += threads_of_grid()) {
    const int tap = int(i % taps), lane = int(i / taps % lanes), chunk = int(i / taps / lanes % chunks);
    const int octet = int(i / taps / lanes / chunks % octets);
    const std::int64_t of_batch = i / taps / lanes / chunks / octets;
    const int batch = int(of_batch % batches), rows = lane < mapping.lanes_of(chunk) ? mapping.rows_of(batch) : 0;
    const std::int64_t filter = of_batch / batches * mapping.filters + std::int64_t(batch) * mapping.rows + octet * 8;
    const std::int16_t* source =
        weights + filter * filter_size + (std::int64_t(chunk) * mapping.lanes + lane) * taps + tap;
    unsigned bytes[2] = {};
    for (int r = 0; r < 8 && octet * 8 + r < rows; ++r) {
      bytes[r / 4] |= unsigned(table[std::uint16_t(source[r * filter_size])]) << (8 * (r % 4));
    }
    const std::int64_t brick = of_batch * mapping.bricks() + std::int64_t(tap) * chunks + chunk;
    packed[(brick * lanes + lane) * octets + octet] = {bytes[0], bytes[1]};
  }
}

enum PairTotal { pair_cycles, pair_sum, pair_filled, pair_step, pair_edge, pair_totals };

/// Better whole: all the time of a design that is serial on both goes by in its one loop, whose registers are counted.
/// A warp per (range of bricks, group, batch, set of pixels); a thread has 8 rows x 4 columns at a time, the warp
/// `column_groups` x (32 / column_groups) of these. pair_sum: of the longest lane's product, pair_filled: slots of
/// processing elements where that is not 0. step_cycles: of a fully connected layer, else null.
__global__ __launch_bounds__(threads_per_block,
                             4) inline void pair_steps(Mapping mapping, PaddedShape shape, const ushort4* activations,
                                                       const uint2* weights, int quads, int octets, int column_groups,
                                                       int splits, int* step_cycles, Total* totals) {
  const int column_group = int(threadIdx.x) % 32 % column_groups, row_group = int(threadIdx.x) % 32 / column_groups;
  const int chunks = mapping.chunks(), bricks = mapping.bricks(), batches = mapping.batches();
  const std::int64_t sets = mapping.pixel_sets(), size = shape.size();
  const std::int64_t tasks = sets * batches * mapping.groups * splits;
  std::int64_t sums[pair_totals] = {};
  for (std::int64_t task = thread_of_grid() / 32; task < tasks; task += threads_of_grid() / 32) {
    const std::int64_t set = task % sets, of_batch = task / sets % (std::int64_t(batches) * mapping.groups);
    const int group = int(of_batch / batches), batch = int(of_batch % batches);
    const int split = int(task / sets / batches / mapping.groups);
    const int rows = mapping.rows_of(batch), columns = mapping.columns_of(set);
    const int first_brick = int(std::int64_t(bricks) * split / splits);
    const int last_brick = int(std::int64_t(bricks) * (split + 1) / splits);
    std::int64_t positions[4] = {};
    unsigned masks[2] = {};  // of a pair of columns, those that there are
    const auto look_at = [&](int first_column) {
      masks[0] = masks[1] = 0;
      for (int c = 0; c < 4; ++c) {
        const bool there = first_column + c < columns;
        positions[c] = there ? shape.offset(0, mapping.first_pixel(set) + first_column + c) : 0;
        if (there) masks[c / 2] |= 0xffffu << (16 * (c % 2));
      }
    };
    look_at(4 * column_group);
    for (int brick = first_brick; brick < last_brick; ++brick) {
      const int chunk = brick % chunks, lanes = mapping.lanes_of(brick);
      const ushort4* image =
          activations + ((std::int64_t(group) * chunks + chunk) * size + shape.offset(brick / chunks, 0)) * quads;
      const uint2* filters = weights + (of_batch * bricks + brick) * 4 * quads * octets;
      unsigned longest = 0, sum = 0, filled = 0;
      for (int first_column = 0; first_column < columns; first_column += 4 * column_groups) {
        if (columns > 4 * column_groups) look_at(first_column + 4 * column_group);
        for (int octet = row_group; octet < octets; octet += 32 / column_groups) {
          unsigned products[8][2] = {};  // longest lane, of a pair of columns in 16 bits each
          for (int quad = 0; quad < quads; ++quad) {
            unsigned pairs[4][2];  // (lane, pair of columns)
            for (int h = 0; h < 2; ++h) {
              const ushort4 left = image[positions[2 * h] * quads + quad];
              const ushort4 right = image[positions[2 * h + 1] * quads + quad];
              pairs[0][h] = left.x | unsigned(right.x) << 16;
              pairs[1][h] = left.y | unsigned(right.y) << 16;
              pairs[2][h] = left.z | unsigned(right.z) << 16;
              pairs[3][h] = left.w | unsigned(right.w) << 16;
            }
            for (int l = 0; l < 4; ++l) {
              const uint2 eight = filters[(4 * quad + l) * octets + octet];
              for (int r = 0; r < 8; ++r) {
                const unsigned weight = (r < 4 ? eight.x : eight.y) >> (8 * (r % 4)) & 255;
                for (int h = 0; h < 2; ++h) {
                  products[r][h] = __vmaxu2(products[r][h], weight * pairs[l][h]);  // at most 16 x 16: no carry
                }
              }
            }
          }
          unsigned total = 0, nonzero = 0, most = 0;  // 16 products fit 16 bits
          for (int r = 0; r < 8; ++r) {
            for (int h = 0; h < 2; ++h) {
              const unsigned product = products[r][h] & masks[h];
              total += product;
              nonzero += __vminu2(product, 0x00010001u);
              most = __vmaxu2(most, product);
            }
          }
          sum += (total & 0xffffu) + (total >> 16);
          filled += (nonzero & 0xffffu) + (nonzero >> 16);
          longest = __vmaxu2(longest, most);
        }
      }
      longest = (longest & 0xffffu) > longest >> 16 ? longest & 0xffffu : longest >> 16;
      const int cycles = int(__reduce_max_sync(0xffffffffu, longest > 1 ? longest : 1));
      sums[pair_sum] += std::int64_t(sum) * lanes;
      sums[pair_filled] += std::int64_t(filled) * lanes;
      if (threadIdx.x % 32 > 0) continue;
      sums[pair_cycles] += cycles;
      sums[pair_step] += std::int64_t(cycles) * rows * columns * lanes;
      sums[pair_edge] += std::int64_t(mapping.empty_slots(1, columns, std::int64_t(rows) * lanes) * cycles);
      if (step_cycles) step_cycles[std::int64_t(batch) * bricks + brick] = cycles;
    }
  }
  add_to_totals(sums, totals);
}

/// The same on the diagonal, where every row has its own activations: a warp per step.
__global__ void diagonal_steps(Mapping mapping, PaddedShape shape, const std::int16_t* image,
                               const std::int16_t* weights, const std::uint16_t* table, Total* totals) {
  const std::int64_t sets = mapping.pixel_sets(), steps = sets * mapping.taps * mapping.batches();
  std::int64_t sums[pair_totals] = {};
  for (std::int64_t step = thread_of_grid() / 32; step < steps; step += threads_of_grid() / 32) {
    const std::int64_t set = step % sets;
    const int tap = int(step / sets % mapping.taps), batch = int(step / sets / mapping.taps);
    const int rows = mapping.rows_of(batch), columns = mapping.columns_of(set);
    int longest = 1;
    for (int element = int(threadIdx.x % 32); element < rows * columns; element += 32) {
      const std::int64_t filter = std::int64_t(batch) * mapping.rows + element / columns;
      const std::int64_t position = shape.offset(tap, mapping.first_pixel(set) + element % columns);
      const int activation =
          operand_at(shape, channel_of(shape, image, mapping.input_channel(filter, 0)), position, table);
      const int product = activation * table[std::uint16_t(weights[filter * mapping.taps + tap])];
      longest = product > longest ? product : longest;
      sums[pair_sum] += product;
      sums[pair_filled] += product > 0;
    }
    longest = __reduce_max_sync(0xffffffffu, longest);
    if (threadIdx.x % 32 > 0) continue;
    sums[pair_cycles] += longest;
    sums[pair_step] += std::int64_t(longest) * rows * columns;
    sums[pair_edge] += std::int64_t(mapping.empty_slots(1, columns, rows) * longest);
  }
  add_to_totals(sums, totals);
}

}  // namespace bitcluster
