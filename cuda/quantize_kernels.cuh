#pragma once

// The scale search of host/weights/scale_search.hpp as kernels: the same operations in the same order on the same
// blocks of weights, so that the scales are the same bit for bit. Launched by quantize.cu.

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>

#include "cuda/instructions.cuh"
#include "cuda/runtime.cuh"
#include "host/weights/scale_search.hpp"

namespace bitcluster::quantization {

inline constexpr int threads = 320;
inline constexpr unsigned all_lanes = 0xffffffffu;
inline constexpr int chunk_blocks = chunk_weights / block_weights;
inline constexpr double infinite = std::numeric_limits<double>::infinity();
inline constexpr int infinity_bits = 0x7f800000;

/// Candidates of a stage, one per thread, rounded up to what divides the threads of a block.
inline constexpr int coarse_count = int(std::size(CandidateFactors{}.coarse)), coarse_width = 160;
inline constexpr int fine_count = int(std::size(CandidateFactors{}.fine)), fine_width = 16;
static_assert(coarse_count <= coarse_width && threads % coarse_width == 0);
static_assert(fine_count <= fine_width && threads % fine_width == 0);
static_assert(chunk_blocks * sum_lanes <= threads);

/// Tables up to this many entries are searched in shared memory: up to 12 bits.
inline constexpr int shared_table_entries = 4096;

/// A RoundingTable of the device: the high words of its magnitudes as doubles, whose low words are zero.
struct DeviceTable {
  const std::uint32_t* nearest;
  int last;

  __device__ double round(float magnitude, float halves) const {
    return __hiloint2double(int(nearest[search_place(magnitude, halves, last)]), 0);
  }
};

/// The tables of a ScaleSearch, one behind the other: those of the searches, then the magnitudes to store.
struct Search {
  int tables;  //!< 1 or 2
  int lasts[2];
  double highest;
  CandidateFactors factors;
};

struct Best {
  float scale;
  double error;
};

// ---------------------------------------------------------------- one chunk of weights that share a scale

/// Shared memory of a block: magnitudes of a chunk, sums of its blocks by candidate, the table.
struct Arrays {
  int magnitudes, partial;

  explicit Arrays(std::size_t size) {
    const std::size_t held = size < chunk_weights ? size : chunk_weights;
    magnitudes = int(blocks_of(held, sum_lanes)) * sum_lanes;
    partial = int(blocks_of(held, block_weights)) * coarse_width;
  }
  std::size_t bytes(int table) const {
    return magnitudes * (sizeof(double) + sizeof(float)) + partial * sizeof(double) + table * sizeof(std::uint32_t);
  }
};

/// Magnitudes of a chunk in shared memory, with zeros up to a multiple of sum_lanes: they add no error. As floats for
/// the rounding and as doubles for the error: conversions run at a quarter of the speed of sums.
struct Chunk {
  double* magnitudes;
  float* floats;
  double* partial;
  std::uint32_t* table;
  int count = 0;

  __device__ explicit Chunk(Arrays arrays)
      : magnitudes(reinterpret_cast<double*>(dynamic_shared())),
        floats(reinterpret_cast<float*>(magnitudes + arrays.magnitudes)),
        partial(reinterpret_cast<double*>(floats + arrays.magnitudes)),
        table(reinterpret_cast<std::uint32_t*>(partial + arrays.partial)) {}

  __device__ void load(const float* weights, std::size_t size, std::size_t index) {
    const std::size_t first = index * chunk_weights;
    const int real = int(size - first < chunk_weights ? size - first : chunk_weights);
    count = (real + sum_lanes - 1) / sum_lanes * sum_lanes;
    __syncthreads();
    for (int i = int(threadIdx.x); i < count; i += threads) {
      magnitudes[i] = floats[i] = i < real ? fabsf(weights[first + i]) : 0.0f;
    }
    __syncthreads();
  }
};

/// Squared error of one block of weights at one scale. The threads of a warp try neighbouring scales on the same
/// weights: one broadcast from shared memory serves all, and they round to few different entries of the table.
__device__ inline double block_error(const Chunk& chunk, int first, int count, double scale, DeviceTable table) {
  const float halves = halves_per_scale(scale);
  double sums[sum_lanes] = {};
  const auto add = [&](double& sum, double magnitude, float value) {
    const double difference = magnitude - scale * table.round(value, halves);
    sum += difference * difference;
  };
  for (int i = first; i < first + count; i += sum_lanes) {
#pragma unroll
    for (int lane = 0; lane < sum_lanes; lane += 4) {
      const float4 four = *reinterpret_cast<const float4*>(chunk.floats + i + lane);
      const double2 low = *reinterpret_cast<const double2*>(chunk.magnitudes + i + lane);
      const double2 high = *reinterpret_cast<const double2*>(chunk.magnitudes + i + lane + 2);
      add(sums[lane], low.x, four.x);
      add(sums[lane + 1], low.y, four.y);
      add(sums[lane + 2], high.x, four.z);
      add(sums[lane + 3], high.y, four.w);
    }
  }
  return sum_of_lanes(sums);
}

/// In thread t < width: the chunk's squared error at scales[t]. After a barrier chunk.partial is free again.
__device__ inline double chunk_error(const Chunk& chunk, const float* scales, int width, DeviceTable table) {
  const int candidate = int(threadIdx.x) % width;
  const int blocks = (chunk.count + block_weights - 1) / block_weights;
  for (int block = int(threadIdx.x) / width; block < blocks; block += threads / width) {
    const int first = block * block_weights;
    const int count = chunk.count - first < block_weights ? chunk.count - first : block_weights;
    chunk.partial[block * width + candidate] = block_error(chunk, first, count, scales[candidate], table);
  }
  __syncthreads();
  double sum = 0;
  if (int(threadIdx.x) < width) {
    for (int block = 0; block < blocks; ++block) sum += chunk.partial[block * width + candidate];
  }
  return sum;
}

/// What the closed-form optimum for the rounding at a scale needs: sums over the weights.
struct Fit {
  double error;    //!< squared
  double product;  //!< magnitude times what it is rounded to
  double square;   //!< of what it is rounded to
};

/// In thread t < 3: member t of the chunk's Fit. Here a thread is a lane of a block of weights. As chunk_error().
__device__ inline double chunk_fit(const Chunk& chunk, double scale, DeviceTable table) {
  const float halves = halves_per_scale(scale);
  const int block = int(threadIdx.x) / sum_lanes, lane = int(threadIdx.x) % sum_lanes;
  const int blocks = (chunk.count + block_weights - 1) / block_weights;
  const int end = (block + 1) * block_weights < chunk.count ? (block + 1) * block_weights : chunk.count;
  Fit fit{};
  for (int i = block * block_weights + lane; i < end; i += sum_lanes) {
    const double magnitude = chunk.magnitudes[i], rounded = table.round(chunk.floats[i], halves);
    const double difference = magnitude - scale * rounded;
    fit.error += difference * difference;
    fit.product += magnitude * rounded;
    fit.square += rounded * rounded;
  }
  for (int half = sum_lanes / 2; half > 0; half /= 2) {
    fit.error += __shfl_down_sync(all_lanes, fit.error, half, sum_lanes);
    fit.product += __shfl_down_sync(all_lanes, fit.product, half, sum_lanes);
    fit.square += __shfl_down_sync(all_lanes, fit.square, half, sum_lanes);
  }
  if (lane == 0 && block < blocks) {
    chunk.partial[block * 3] = fit.error;
    chunk.partial[block * 3 + 1] = fit.product;
    chunk.partial[block * 3 + 2] = fit.square;
  }
  __syncthreads();
  double sum = 0;
  if (threadIdx.x < 3) {
    for (int i = 0; i < blocks; ++i) sum += chunk.partial[i * 3 + int(threadIdx.x)];
  }
  return sum;
}

// ---------------------------------------------------------------- choices

__device__ inline float coarse_scale(const Search& search, int index, double largest, float other, float minimum) {
  const double factor = search.factors.coarse[index < coarse_count ? index : 0];
  return admissible_scale(index == other_candidate && other > 0 ? other : largest / search.highest * factor, minimum);
}

__device__ inline float fine_scale(const Search& search, int index, float best, float minimum) {
  return admissible_scale(best * search.factors.fine[index < fine_count ? index : 0], minimum);
}

/// The first of the scales of least error, if it is better than `best`, which lies in shared or global memory. All
/// threads take part.
__device__ inline void keep_best(const double* errors, const float* scales, int count, Best* best) {
  __syncthreads();
  if (threadIdx.x < 32) {
    double error = infinite;
    int index = 0;
    for (int i = int(threadIdx.x); i < count; i += 32) {
      if (errors[i] < error) {
        error = errors[i];
        index = i;
      }
    }
    for (int distance = 16; distance > 0; distance /= 2) {
      const double other_error = __shfl_xor_sync(all_lanes, error, distance);
      const int other_index = __shfl_xor_sync(all_lanes, index, distance);
      if (other_error < error || (other_error == error && other_index < index)) {
        error = other_error;
        index = other_index;
      }
    }
    if (threadIdx.x == 0 && error < best->error) *best = {scales[index], error};
  }
  __syncthreads();
}

/// The next scale to fit at, 0 at the end.
__device__ inline float accept_fit(const Fit& fit, float scale, float minimum, Best* best) {
  if (!(fit.error < best->error)) return 0;
  const bool again = fit.error < (1 - least_gain) * best->error;
  *best = {scale, fit.error};
  return again && fit.square > 0 ? admissible_scale(fit.product / fit.square, minimum) : 0;
}

__device__ inline float scale_of_zeros(float minimum) { return minimum > 0 ? minimum : 1; }

/// Bits of the largest magnitude of `weights` from `first` on, `stride` apart; in every lane of the warp.
__device__ inline int largest_bits(const float* weights, std::size_t size, std::size_t first, std::size_t stride) {
  int bits = 0;
  for (std::size_t i = first; i < size; i += stride) {
    const int own = __float_as_int(weights[i]) & 0x7fffffff;
    bits = own > bits ? own : bits;
  }
  return __reduce_max_sync(all_lanes, bits);
}

/// magnitudes: what to store, by place.
__device__ inline std::int16_t stored(float weight, float scale, const std::uint32_t* magnitudes, int last) {
  const int magnitude = int(magnitudes[exact_place(double(fabsf(weight)) / scale, last)]);
  return std::int16_t(weight < 0 ? -magnitude : magnitude);
}

/// Where the table of a search begins, and after the last one the magnitudes to store.
__device__ inline const std::uint32_t* table_of(const Search& search, const std::uint32_t* tables, int index) {
  if (index > 0) tables += search.lasts[0] + 1;
  if (index > 1) tables += search.lasts[1] + 1;
  return tables;
}

/// Copies a table to shared memory, if it is to be searched there.
template <bool table_in_shared>
__device__ DeviceTable load_table(const std::uint32_t* from, int last, std::uint32_t* to) {
  if constexpr (!table_in_shared) return {from, last};
  __syncthreads();
  for (int i = int(threadIdx.x); i <= last; i += threads) to[i] = from[i];
  __syncthreads();
  return {to, last};
}

// ---------------------------------------------------------------- one block per filter

template <bool table_in_shared>
__global__ void __launch_bounds__(threads, 3)
    quantize_filters(const float* weights, std::size_t size, const std::uint32_t* tables, const float* minimums,
                     std::int16_t* values, float* scales, Search search, Arrays arrays) {
  __shared__ float candidates[coarse_width];
  __shared__ double errors[coarse_width];
  __shared__ Best best;
  __shared__ int largest;
  const int thread = int(threadIdx.x);
  const std::size_t filter = blockIdx.x;
  const float minimum = minimums[filter];
  weights += filter * size;
  values += filter * size;

  if (thread == 0) largest = 0;
  __syncthreads();
  const int bits = largest_bits(weights, size, thread, threads);
  if (thread % 32 == 0) atomicMax(&largest, bits);
  __syncthreads();

  float scale = 0;
  if (largest == 0) {
    scale = scale_of_zeros(minimum);
  } else if (largest >= infinity_bits) {
    if (thread == 0) scales[filter] = __int_as_float(0x7fffffff);  // not a number: tells the host
    return;
  }
  const std::size_t chunks = (size + chunk_weights - 1) / chunk_weights;
  Chunk chunk(arrays);
  if (largest > 0 && chunks == 1) chunk.load(weights, size, 0);
  const auto next_chunk = [&](std::size_t index) {
    if (chunks > 1) chunk.load(weights, size, index);
  };
  for (int index = 0; largest > 0 && index < search.tables; ++index) {
    const DeviceTable table =
        load_table<table_in_shared>(table_of(search, tables, index), search.lasts[index], chunk.table);
    if (thread == 0) best = {0, infinite};
    for (int stage = 0; stage < 2; ++stage) {
      const bool coarse = stage == 0;
      const int width = coarse ? coarse_width : fine_width;
      if (thread < width) {
        candidates[thread] = coarse ? coarse_scale(search, thread, __int_as_float(largest), scale, minimum)
                                    : fine_scale(search, thread, best.scale, minimum);
      }
      __syncthreads();
      double error = 0;
      for (std::size_t i = 0; i < chunks; ++i) {
        next_chunk(i);
        error += chunk_error(chunk, candidates, width, table);
      }
      if (thread < width) errors[thread] = error;
      keep_best(errors, candidates, coarse ? coarse_count : fine_count, &best);
    }
    float at = best.scale;
    __syncthreads();
    if (thread == 0) best.error = infinite;  // accepts the first fit, the best itself
    while (at > 0) {
      double sum = 0;
      for (std::size_t i = 0; i < chunks; ++i) {
        next_chunk(i);
        sum += chunk_fit(chunk, at, table);
      }
      if (thread < 3) errors[thread] = sum;
      __syncthreads();
      if (thread == 0) candidates[0] = accept_fit({errors[0], errors[1], errors[2]}, at, minimum, &best);
      __syncthreads();
      at = candidates[0];
    }
    scale = best.scale;
    __syncthreads();
  }
  const std::uint32_t* magnitudes = table_of(search, tables, search.tables);
  for (std::size_t i = thread; i < size; i += threads) {
    values[i] = stored(weights[i], scale, magnitudes, search.lasts[search.tables - 1]);
  }
  if (thread == 0) scales[filter] = scale;
}

// ---------------------------------------------------------------- one scale for the tensor: blocks share the chunks

/// Where the search for the tensor's scale stands, in global memory.
struct State {
  int largest;  //!< its bits
  float other;  //!< scale of an earlier search
  Best best;
  float at;  //!< next scale to fit at, 0 at the end
};

enum class Stage { coarse, fine, fit };

__global__ void find_largest(const float* weights, std::size_t size, State* state) {
  const std::size_t first = std::size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int bits = largest_bits(weights, size, first, std::size_t(gridDim.x) * blockDim.x);
  if (threadIdx.x % 32 == 0) atomicMax(&state->largest, bits);
}

__device__ inline float tensor_candidate(const Search& search, Stage stage, int index, const State& state,
                                         float minimum) {
  if (stage == Stage::fine) return fine_scale(search, index, state.best.scale, minimum);
  return coarse_scale(search, index, __int_as_float(state.largest), state.other, minimum);
}

__host__ __device__ constexpr int width_of(Stage stage) {
  return stage == Stage::coarse ? coarse_width : stage == Stage::fine ? fine_width : 3;
}

/// sums: (chunks, width of the stage).
template <bool table_in_shared>
__global__ void __launch_bounds__(threads, 3)
    sum_chunks(const float* weights, std::size_t size, const std::uint32_t* nearest, int last, float minimum,
               Stage stage, const State* state, double* sums, Search search, Arrays arrays) {
  __shared__ float candidates[coarse_width];
  const int thread = int(threadIdx.x), width = width_of(stage);
  Chunk chunk(arrays);
  const DeviceTable table = load_table<table_in_shared>(nearest, last, chunk.table);
  if (stage != Stage::fit && thread < width) {
    candidates[thread] = tensor_candidate(search, stage, thread, *state, minimum);
  }
  chunk.load(weights, size, blockIdx.x);
  const double sum =
      stage == Stage::fit ? chunk_fit(chunk, state->at, table) : chunk_error(chunk, candidates, width, table);
  if (thread < width) sums[blockIdx.x * std::size_t(width) + thread] = sum;
}

/// One block: what follows from the sums of all chunks.
__global__ void __launch_bounds__(threads)
    choose(const double* sums, std::size_t chunks, float minimum, Stage stage, State* state, Search search) {
  __shared__ float candidates[coarse_width];
  __shared__ double errors[coarse_width];
  const int thread = int(threadIdx.x), width = width_of(stage);
  if (thread < width) {
    double sum = 0;
#pragma unroll 16
    for (std::size_t i = 0; i < chunks; ++i) sum += sums[i * width + thread];
    errors[thread] = sum;
    if (stage != Stage::fit) candidates[thread] = tensor_candidate(search, stage, thread, *state, minimum);
  }
  if (stage == Stage::fit) {
    __syncthreads();
    if (thread > 0) return;
    state->at = accept_fit({errors[0], errors[1], errors[2]}, state->at, minimum, &state->best);
    if (state->at == 0) state->other = state->best.scale;
  } else {
    if (stage == Stage::coarse && thread == 0) state->best = {0, infinite};
    keep_best(errors, candidates, stage == Stage::coarse ? coarse_count : fine_count, &state->best);
    if (stage == Stage::fine && thread == 0) {
      state->at = state->best.scale;
      state->best.error = infinite;  // accepts the first fit, the best itself
    }
  }
}

__global__ void round_weights(const float* weights, std::size_t size, float scale, const std::uint32_t* magnitudes,
                              int last, std::int16_t* values) {
  const std::size_t i = std::size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < size) values[i] = stored(weights[i], scale, magnitudes, last);
}

}  // namespace bitcluster::quantization
