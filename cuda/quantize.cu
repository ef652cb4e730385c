#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <vector>

#include "cuda/instructions.cuh"
#include "cuda/quantize.hpp"
#include "cuda/runtime.cuh"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {
namespace {

constexpr int threads = 320;
constexpr unsigned all_lanes = 0xffffffffu;
constexpr int chunk_blocks = chunk_weights / block_weights;
constexpr double infinite = std::numeric_limits<double>::infinity();
constexpr int infinity_bits = 0x7f800000;

/// Candidates of a stage, one per thread, rounded up to what divides the threads of a block.
constexpr int coarse_count = int(std::size(CandidateFactors{}.coarse)), coarse_width = 160;
constexpr int fine_count = int(std::size(CandidateFactors{}.fine)), fine_width = 16;
static_assert(coarse_count <= coarse_width && threads % coarse_width == 0);
static_assert(fine_count <= fine_width && threads % fine_width == 0);
static_assert(chunk_blocks * sum_lanes <= threads);

/// Tables up to this many entries are searched in shared memory: up to 12 bits.
constexpr int shared_table_entries = 4096;

/// A RoundingTable of the device: the high words of its magnitudes as doubles, whose low words are zero.
struct Table {
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
__device__ double block_error(const Chunk& chunk, int first, int count, double scale, Table table) {
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
__device__ double chunk_error(const Chunk& chunk, const float* scales, int width, Table table) {
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
__device__ double chunk_fit(const Chunk& chunk, double scale, Table table) {
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

__device__ float coarse_scale(const Search& search, int index, double largest, float other, float minimum) {
  const double factor = search.factors.coarse[index < coarse_count ? index : 0];
  return admissible_scale(index == other_candidate && other > 0 ? other : largest / search.highest * factor, minimum);
}

__device__ float fine_scale(const Search& search, int index, float best, float minimum) {
  return admissible_scale(best * search.factors.fine[index < fine_count ? index : 0], minimum);
}

/// The first of the scales of least error, if it is better than `best`, which lies in shared or global memory. All
/// threads take part.
__device__ void keep_best(const double* errors, const float* scales, int count, Best* best) {
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
__device__ float accept_fit(const Fit& fit, float scale, float minimum, Best* best) {
  if (!(fit.error < best->error)) return 0;
  const bool again = fit.error < (1 - least_gain) * best->error;
  *best = {scale, fit.error};
  return again && fit.square > 0 ? admissible_scale(fit.product / fit.square, minimum) : 0;
}

__device__ float scale_of_zeros(float minimum) { return minimum > 0 ? minimum : 1; }

/// Bits of the largest magnitude of `weights` from `first` on, `stride` apart; in every lane of the warp.
__device__ int largest_bits(const float* weights, std::size_t size, std::size_t first, std::size_t stride) {
  int bits = 0;
  for (std::size_t i = first; i < size; i += stride) {
    const int own = __float_as_int(weights[i]) & 0x7fffffff;
    bits = own > bits ? own : bits;
  }
  return __reduce_max_sync(all_lanes, bits);
}

/// magnitudes: what to store, by place.
__device__ std::int16_t stored(float weight, float scale, const std::uint32_t* magnitudes, int last) {
  const int magnitude = int(magnitudes[exact_place(double(fabsf(weight)) / scale, last)]);
  return std::int16_t(weight < 0 ? -magnitude : magnitude);
}

/// Where the table of a search begins, and after the last one the magnitudes to store.
__device__ const std::uint32_t* table_of(const Search& search, const std::uint32_t* tables, int index) {
  if (index > 0) tables += search.lasts[0] + 1;
  if (index > 1) tables += search.lasts[1] + 1;
  return tables;
}

/// Copies a table to shared memory, if it is to be searched there.
template <bool table_in_shared>
__device__ Table load_table(const std::uint32_t* from, int last, std::uint32_t* to) {
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
    const Table table = load_table<table_in_shared>(table_of(search, tables, index), search.lasts[index], chunk.table);
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

__device__ float tensor_candidate(const Search& search, Stage stage, int index, const State& state, float minimum) {
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
  const Table table = load_table<table_in_shared>(nearest, last, chunk.table);
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

// ---------------------------------------------------------------- launchers

template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), std::size_t bytes) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)));
}

/// What a search reads on the device.
class DeviceSearch {
 public:
  DeviceSearch(int filters, const WeightFormat& format, std::span<const float> minimum_scales, cudaStream_t stream)
      : filters_(filters), per_channel_(format.per_channel), stream_(stream) {
    const ScaleSearch plan = format.preparation->scale_search(format);
    search_ = {int(plan.tables.size()), {}, plan.highest, candidate_factors()};
    std::vector<std::uint32_t> tables;
    for (int i = 0; i < search_.tables; ++i) {
      search_.lasts[i] = plan.tables[i].last();
      for (const double magnitude : plan.tables[i].nearest) {
        tables.push_back(std::uint32_t(__builtin_bit_cast(std::uint64_t, magnitude) >> 32));
      }
    }
    values_at_ = tables.size();
    for (const double magnitude : plan.values.nearest) tables.push_back(std::uint32_t(magnitude));
    tables_ = DeviceArray<std::uint32_t>(tables.data(), tables.size(), stream);
    minimums_ = least_scales(filters, format, minimum_scales);
    device_minimums_ = DeviceArray<float>(minimums_.data(), minimums_.size(), stream);
  }

  /// Blocking; throws reject_not_finite()'s Error. weights, values: (filters, size) on the device.
  std::vector<float> run(const DeviceArray<float>& weights, const DeviceArray<std::int16_t>& values) const {
    return per_channel_ ? run_filters(weights, values) : run_tensor(weights, values);
  }

 private:
  int longest_table() const {
    return 1 + (search_.tables > 1 ? std::max(search_.lasts[0], search_.lasts[1]) : search_.lasts[0]);
  }
  int shared_entries() const { return longest_table() <= shared_table_entries ? longest_table() : 0; }

  /// A weight costs 4 bytes read and 2 written (again 4 from the caches for every pass where a filter has more than
  /// chunk_weights weights), and per candidate some 11 instructions, 4 of them double operations at half speed; for
  /// 160 + 16 candidates (twice that for signed digits) 1900. An H200 reads and writes 4.8 TB/s, 800 G weights/s, and
  /// issues 132 x 4 warp instructions per cycle of 1.8 GHz, 30 T/s of threads, 15 G weights/s: arithmetic binds, by a
  /// factor of 50. That is what PCIe 5 x16 (64 GB/s) brings from the host. Sorted weights with prefix sums would take
  /// far fewer operations for few terms, but not for plain integers, and lose small errors in differences.
  std::vector<float> run_filters(const DeviceArray<float>& weights, const DeviceArray<std::int16_t>& values) const {
    const std::size_t size = weights.size() / filters_;
    const Arrays arrays(size);
    const std::size_t bytes = arrays.bytes(shared_entries());
    const auto kernel = shared_entries() > 0 ? quantize_filters<true> : quantize_filters<false>;
    allow_shared(kernel, bytes);
    const DeviceArray<float> device_scales(filters_, stream_);
    launch(kernel, filters_, threads, bytes, stream_, weights.data(), size, tables_.data(), device_minimums_.data(),
           values.data(), device_scales.data(), search_, arrays);
    std::vector<float> scales(filters_);
    check(cudaMemcpyAsync(scales.data(), device_scales.data(), filters_ * sizeof(float), cudaMemcpyDeviceToHost,
                          stream_));
    check(cudaStreamSynchronize(stream_));
    for (const float scale : scales) {
      if (std::isnan(scale)) reject_not_finite();
    }
    return scales;
  }

  /// The same operations, with a block per chunk; every stage reads the weights again. The last stage repeats until
  /// the host sees its end.
  std::vector<float> run_tensor(const DeviceArray<float>& weights, const DeviceArray<std::int16_t>& values) const {
    const std::size_t size = weights.size(), chunks = blocks_of(size, chunk_weights);
    const DeviceArray<State> device_state(1, stream_);
    check(cudaMemsetAsync(device_state.data(), 0, sizeof(State), stream_));
    State state{};
    const auto read_state = [&] {
      check(cudaMemcpyAsync(&state, device_state.data(), sizeof state, cudaMemcpyDeviceToHost, stream_));
      check(cudaStreamSynchronize(stream_));
    };
    const unsigned most_blocks = 1024;  // enough for every GPU; each ends with one atomic operation per warp
    if (size > 0) {
      launch(find_largest, std::min(blocks_of(size, 256), most_blocks), 256, 0, stream_, weights.data(), size,
             device_state.data());
    }
    read_state();
    if (state.largest >= infinity_bits) reject_not_finite();
    float scale = minimums_[0] > 0 ? minimums_[0] : 1;
    if (state.largest > 0) {
      const DeviceArray<double> sums(chunks * coarse_width, stream_);
      const Arrays arrays(size);
      const std::size_t bytes = arrays.bytes(shared_entries());
      const auto kernel = shared_entries() > 0 ? sum_chunks<true> : sum_chunks<false>;
      allow_shared(kernel, bytes);
      const std::uint32_t* table = tables_.data();
      for (int i = 0; i < search_.tables; table += search_.lasts[i++] + 1) {
        const auto run_stage = [&](Stage stage) {
          launch(kernel, unsigned(chunks), threads, bytes, stream_, weights.data(), size, table, search_.lasts[i],
                 minimums_[0], stage, device_state.data(), sums.data(), search_, arrays);
          launch(choose, 1, threads, 0, stream_, sums.data(), chunks, minimums_[0], stage, device_state.data(),
                 search_);
        };
        run_stage(Stage::coarse);
        run_stage(Stage::fine);
        do {
          run_stage(Stage::fit);
          read_state();
        } while (state.at > 0);
      }
      scale = state.best.scale;
    }
    if (size > 0) {
      launch(round_weights, blocks_of(size, 256), 256, 0, stream_, weights.data(), size, scale,
             tables_.data() + values_at_, search_.lasts[search_.tables - 1], values.data());
    }
    return std::vector<float>(filters_, scale);
  }

  int filters_;
  bool per_channel_;
  cudaStream_t stream_;
  Search search_;
  DeviceArray<std::uint32_t> tables_;
  std::size_t values_at_;
  std::vector<float> minimums_;
  DeviceArray<float> device_minimums_;
};

}  // namespace

QuantizedWeights quantize_on_device(std::span<const float> weights, int filters, const WeightFormat& format,
                                    std::span<const float> minimum_scales) {
  check_quantization(weights.size(), filters, format, minimum_scales);
  const Stream stream;
  const DeviceSearch search(filters, format, minimum_scales, stream);
  const DeviceArray<float> device_weights(weights.data(), weights.size(), stream);
  const DeviceArray<std::int16_t> device_values(weights.size(), stream);
  QuantizedWeights result{format, {}, search.run(device_weights, device_values)};
  result.values.resize(weights.size());
  check(cudaMemcpyAsync(result.values.data(), device_values.data(), weights.size() * sizeof(std::int16_t),
                        cudaMemcpyDeviceToHost, stream));
  stream.wait();
  return result;
}

QuantizationTimes time_quantization(std::span<const float> weights, int filters, const WeightFormat& format) {
  check_quantization(weights.size(), filters, format, {});
  const Stream stream;
  const DeviceSearch search(filters, format, {}, stream);
  const DeviceArray<float> device_weights(weights.data(), weights.size(), stream), copy(weights.size(), stream);
  const DeviceArray<std::int16_t> device_values(weights.size(), stream);
  const auto seconds = [&](auto&& work) {
    cudaEvent_t first, last;
    check(cudaEventCreate(&first));
    check(cudaEventCreate(&last));
    check(cudaEventRecord(first, stream));
    work();
    check(cudaEventRecord(last, stream));
    check(cudaEventSynchronize(last));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, first, last));
    cudaEventDestroy(first);
    cudaEventDestroy(last);
    return milliseconds * 1e-3;
  };
  return {seconds([&] { search.run(device_weights, device_values); }), seconds([&] {
            check(cudaMemcpyAsync(copy.data(), device_weights.data(), weights.size() * sizeof(float),
                                  cudaMemcpyDeviceToDevice, stream));
          })};
}

}  // namespace bitcluster
