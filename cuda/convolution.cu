#include <algorithm>

#include "cuda/convolution.cuh"
#include "cuda/instructions.cuh"

namespace bitcluster {
namespace {

/// Of one kernel call.
struct ConvolutionTask {
  TensorView input;
  OutputView output;
  Window window;
  int group_channels, group_filters;
  const void* weights;  //!< int8 or int16, see DeviceConvolution
  int row_bytes;        //!< matrix: of one filter's weights
  const std::int32_t* bias;
  const float* multipliers;
  FusedAdd add;  //!< if add.other.values
};

/// The result of one output element as an integer, sum of the fused tensor included.
__device__ int finish(const ConvolutionTask& task, std::int32_t sum, float multiplier, int other) {
  const float scaled = rescale(sum, multiplier);
  if (!task.add.other.values) return round_to_range(scaled, task.output.range);
  const int own = round_to_range(scaled, task.add.convolution);
  return round_to_range(rescale_sum(own, task.add.multiplier, other, task.add.other_multiplier), task.output.range);
}

// ---------------------------------------------------------------- implicit matrix product

/// Output pixels x filters of a block, products per step [byte], and steps under way. A warp does 32 pixels x half of
/// the filters.
constexpr int block_pixels = 128, step_bytes = 64, stages = 4, matrix_threads = 256;
constexpr int chunk = 16;  //!< bytes of a matrix row in shared memory
constexpr int step_chunks = step_bytes / chunk;

/// Shared memory of a pixel's or filter's step: chunks are exchanged so that the eight rows of a matrix lie in
/// different banks.
__device__ int shared_offset(int row, int chunk_index) {
  return row * step_bytes + (chunk_index ^ (row >> 1 & 3)) * chunk;
}

__host__ __device__ constexpr int result_pitch(int filters) {
  return filters + 16;
}  //!< bytes of a pixel's results, in other banks each

constexpr std::size_t matrix_shared(int filters) {
  const std::size_t operands = std::size_t(stages) * (block_pixels + filters) * step_bytes;
  const std::size_t results = std::size_t(block_pixels) * result_pitch(filters);
  return operands > results ? operands : results;
}

/// Pixels x filters of one group: the matrix of activations (pixels, taps x channels) is read where it lies, `run`
/// bytes at a time (16, or 4 for images of up to 4 channels), and never written.
/// Better whole: its parts share what lies in registers: the sums of a warp's tiles, the places of a thread's
/// pixels and the tap that is copied next. Each would have to be handed on as a whole, and all limits are registers: at
/// 256 threads twice per multiprocessor there are 128 for each.
template <int block_filters, int run, bool input_is_signed>
__global__ void __launch_bounds__(matrix_threads, 2) multiply_matrices(ConvolutionTask task) {
  constexpr int runs = step_bytes / run;             // of a pixel's step
  constexpr int rows_apart = matrix_threads / runs;  // between the pixels that a thread copies
  constexpr int rows_each = block_pixels / rows_apart;
  constexpr int filters_each = block_filters * step_chunks / matrix_threads;
  constexpr int warp_filters = block_filters / 2;
  constexpr int tiles_m = 2, tiles_n = warp_filters / 8;  // of 16 x 8 results
  constexpr int stage_bytes = (block_pixels + block_filters) * step_bytes;

  unsigned char* const shared = dynamic_shared();
  const int thread = int(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int first_pixel = int(blockIdx.x) * block_pixels, first_filter = int(blockIdx.y) * block_filters;
  const int group = int(blockIdx.z);
  const Window& window = task.window;
  const int channels = task.group_channels;  // padded to whole runs

  // The pixels whose activations this thread copies, always the same run of a step.
  const int own_run = thread % runs, own_row = thread / runs;
  int offsets[rows_each], tops[rows_each], lefts[rows_each];
#pragma unroll
  for (int i = 0; i < rows_each; ++i) {
    const int pixel = first_pixel + own_row + i * rows_apart;
    const int row = pixel / task.output.width, x = pixel % task.output.width;
    const int image = row / task.output.height, y = row % task.output.height;
    tops[i] = pixel < task.output.positions() ? y * window.stride_h - window.pad_top : -(1 << 30);
    lefts[i] = x * window.stride_w - window.pad_left;
    offsets[i] = ((image * task.input.height + y * window.stride_h - window.pad_top) * task.input.width + lefts[i]) *
                     task.input.stride +
                 group * task.group_channels;
  }
  int tap_y = 0, tap_x = 0, channel = own_run * run;  // of the run that is copied next
  const auto move_on = [&](int distance) {
    channel += distance;
    if (channel < channels) return;
    const int taps = channel / channels;
    channel -= taps * channels;
    tap_x += taps;
    if (tap_x < window.kernel_w) return;
    tap_y += tap_x / window.kernel_w;
    tap_x %= window.kernel_w;
  };
  move_on(0);

  const int steps = task.row_bytes / step_bytes;
  const std::int8_t* const weights = static_cast<const std::int8_t*>(task.weights);
  const auto copy_step = [&](int step) {
    unsigned char* const stage = shared + step % stages * stage_bytes;
    const int dy = tap_y * window.dilation_h, dx = tap_x * window.dilation_w;
    const int along = (dy * task.input.width + dx) * task.input.stride + channel;
#pragma unroll
    for (int i = 0; i < rows_each; ++i) {
      const int row = own_row + i * rows_apart;
      const bool inside = tap_y < window.kernel_h && unsigned(tops[i] + dy) < unsigned(task.input.height) &&
                          unsigned(lefts[i] + dx) < unsigned(task.input.width);
      copy_async<run>(stage + shared_offset(row, own_run * run / chunk) + own_run * run % chunk,
                      task.input.values + (inside ? offsets[i] + along : 0), inside);
    }
    move_on(step_bytes);
#pragma unroll
    for (int i = 0; i < filters_each; ++i) {
      const int row = thread / step_chunks + i * (matrix_threads / step_chunks), part = thread % step_chunks;
      const bool exists = first_filter + row < task.group_filters;
      const int filter = group * task.group_filters + first_filter + row;
      copy_async<chunk>(
          stage + block_pixels * step_bytes + shared_offset(row, part),
          weights + (exists ? std::size_t(filter) * task.row_bytes + step * step_bytes + part * chunk : 0), exists);
    }
  };

#pragma unroll
  for (int step = 0; step < stages - 1; ++step) {
    if (step < steps) copy_step(step);
    close_copies();
  }
  const int warp_pixel = warp / 2 * 32, warp_filter = warp % 2 * warp_filters;
  std::int32_t sums[tiles_m][tiles_n][4] = {};
  for (int step = 0; step < steps; ++step) {
    wait_for_copies<stages - 2>();
    __syncthreads();
    // the stage that the warps left before the barrier is filled again
    if (step + stages - 1 < steps) copy_step(step + stages - 1);
    close_copies();
    const unsigned char* const pixels = shared + step % stages * stage_bytes;
    const unsigned char* const filters = pixels + block_pixels * step_bytes;
#pragma unroll
    for (int half = 0; half < step_bytes / 32; ++half) {
      std::uint32_t a[tiles_m][4], b[tiles_n / 2][4];
#pragma unroll
      for (int m = 0; m < tiles_m; ++m) {
        load_matrices(a[m], pixels + shared_offset(warp_pixel + m * 16 + lane % 16, half * 2 + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < tiles_n / 2; ++n) {
        load_matrices(
            b[n], filters + shared_offset(warp_filter + n * 16 + lane % 8 + lane / 16 * 8, half * 2 + lane / 8 % 2));
      }
#pragma unroll
      for (int m = 0; m < tiles_m; ++m) {
#pragma unroll
        for (int n = 0; n < tiles_n; ++n) {
          multiply_add<input_is_signed>(sums[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
        }
      }
    }
  }
  wait_for_copies<0>();
  __syncthreads();

  // Results go through shared memory, so that whole runs of channels are written.
  const OutputView& output = task.output;
#pragma unroll
  for (int n = 0; n < tiles_n; ++n) {
    const int column = warp_filter + n * 8 + lane % 4 * 2;
    std::int32_t bias[2];
    float multipliers[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool exists = first_filter + column + i < task.group_filters;
      const int filter = group * task.group_filters + first_filter + column + i;
      bias[i] = exists ? task.bias[filter] : 0;
      multipliers[i] = exists ? task.multipliers[filter] : 0;
    }
#pragma unroll
    for (int m = 0; m < tiles_m; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = warp_pixel + m * 16 + lane / 4 + i / 2 * 8;
        const std::int32_t sum = sums[m][n][i] + bias[i % 2];
        if (output.real) {
          const int filter = first_filter + column + i % 2;
          if (first_pixel + row < output.positions() && filter < task.group_filters) {
            output.store_real(first_pixel + row, group * task.group_filters + filter, rescale(sum, multipliers[i % 2]));
          }
        } else {
          const OutputRange range = task.add.other.values ? task.add.convolution : output.range;
          shared[row * result_pitch(block_filters) + column + i % 2] =
              (unsigned char)(round_to_range(rescale(sum, multipliers[i % 2]), range));
        }
      }
    }
  }
  if (output.real) return;
  __syncthreads();
  const bool own_is_signed = task.add.convolution.low < 0;
  for (int i = thread; i < block_pixels * (block_filters / chunk); i += matrix_threads) {
    const int row = i / (block_filters / chunk), column = i % (block_filters / chunk) * chunk;
    const int pixel = first_pixel + row;
    // one group: the padding behind the last filter is written, too
    const int end = gridDim.z > 1 ? task.group_filters : output.stride;
    if (pixel >= output.positions() || first_filter + column >= end) continue;
    const int place = pixel * output.stride + group * task.group_filters + first_filter + column;
    union {
      uint4 words;
      std::uint8_t bytes[chunk];
    } result, other;
    result.words = *reinterpret_cast<const uint4*>(shared + row * result_pitch(block_filters) + column);
    if (task.add.other.values) {
      if (output.stride % chunk == 0) {
        other.words = *reinterpret_cast<const uint4*>(task.add.other.values + place);
      } else {
        other.words.x = *reinterpret_cast<const std::uint32_t*>(task.add.other.values + place);
      }
#pragma unroll
      for (int k = 0; k < chunk; ++k) {
        const int own = own_is_signed ? int(std::int8_t(result.bytes[k])) : int(result.bytes[k]);
        const int added = task.add.other.is_signed ? int(std::int8_t(other.bytes[k])) : int(other.bytes[k]);
        result.bytes[k] = std::uint8_t(
            round_to_range(rescale_sum(own, task.add.multiplier, added, task.add.other_multiplier), output.range));
      }
    }
    std::uint8_t* const to = static_cast<std::uint8_t*>(output.values) + place;
    if (output.stride % chunk == 0) {
      *reinterpret_cast<uint4*>(to) = result.words;
    } else {
      *reinterpret_cast<std::uint32_t*>(to) = result.words.x;
    }
  }
}

template <int block_filters, int run, bool input_is_signed>
void launch_matrices(const ConvolutionTask& task, int groups, cudaStream_t stream) {
  constexpr std::size_t shared = matrix_shared(block_filters);
  const auto kernel = multiply_matrices<block_filters, run, input_is_signed>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
  launch(kernel,
         dim3(blocks_of(std::size_t(task.output.positions()), block_pixels),
              blocks_of(std::size_t(task.group_filters), block_filters), unsigned(groups)),
         matrix_threads, shared, stream, task);
}

template <int block_filters, int run>
void launch_matrices(const ConvolutionTask& task, int groups, cudaStream_t stream) {
  if (task.input.is_signed) {
    launch_matrices<block_filters, run, true>(task, groups, stream);
  } else {
    launch_matrices<block_filters, run, false>(task, groups, stream);
  }
}

// ---------------------------------------------------------------- product by product

constexpr int element_threads = 256;

/// Four channels of a pixel per thread; the limit is the memory traffic of input and output.
__global__ void __launch_bounds__(element_threads) convolve_depthwise(ConvolutionTask task) {
  const OutputView& output = task.output;
  const int quads = output.stride / 4;
  const int index = int(blockIdx.x * element_threads + threadIdx.x);
  if (index >= output.positions() * quads) return;
  const int pixel = index / quads, channel = index % quads * 4;
  const int x = pixel % output.width, row = pixel / output.width;
  const int y = row % output.height, image = row / output.height;
  const Window& window = task.window;
  std::int32_t sums[4] = {};
  for (int ky = 0; ky < window.kernel_h; ++ky) {
    const int iy = y * window.stride_h - window.pad_top + ky * window.dilation_h;
    if (unsigned(iy) >= unsigned(task.input.height)) continue;
    for (int kx = 0; kx < window.kernel_w; ++kx) {
      const int ix = x * window.stride_w - window.pad_left + kx * window.dilation_w;
      if (unsigned(ix) >= unsigned(task.input.width)) continue;
      int values[4];
      task.input.load((image * task.input.height + iy) * task.input.width + ix, channel, values);
      const short4 weights = *reinterpret_cast<const short4*>(static_cast<const std::int16_t*>(task.weights) +
                                                              (ky * window.kernel_w + kx) * output.stride + channel);
      sums[0] += values[0] * weights.x;
      sums[1] += values[1] * weights.y;
      sums[2] += values[2] * weights.z;
      sums[3] += values[3] * weights.w;
    }
  }
  int others[4] = {};
  if (task.add.other.values) task.add.other.load(pixel, channel, others);
  std::uint32_t bytes = 0;
  for (int i = 0; i < 4; ++i) {
    if (channel + i >= output.channels) break;
    const std::int32_t sum = sums[i] + task.bias[channel + i];
    const float multiplier = task.multipliers[channel + i];
    if (output.real) {
      output.store_real(pixel, channel + i, rescale(sum, multiplier));
    } else {
      bytes |= std::uint32_t(finish(task, sum, multiplier, others[i]) & 255) << (8 * i);
    }
  }
  if (!output.real) {
    *reinterpret_cast<std::uint32_t*>(static_cast<std::uint8_t*>(output.values) + pixel * output.stride + channel) =
        bytes;
  }
}

/// One result per thread.
__global__ void __launch_bounds__(element_threads) convolve_directly(ConvolutionTask task) {
  const OutputView& output = task.output;
  const std::int64_t index = std::int64_t(blockIdx.x) * element_threads + threadIdx.x;
  if (index >= std::int64_t(output.positions()) * output.channels) return;
  const int pixel = int(index / output.channels), filter = int(index % output.channels);
  const int x = pixel % output.width, row = pixel / output.width;
  const int y = row % output.height, image = row / output.height;
  const Window& window = task.window;
  const int first_channel = filter / task.group_filters * task.group_channels;
  const std::int16_t* weights = static_cast<const std::int16_t*>(task.weights) +
                                std::size_t(filter) * window.kernel_h * window.kernel_w * task.group_channels;
  std::int32_t sum = task.bias[filter];
  for (int ky = 0; ky < window.kernel_h; ++ky) {
    const int iy = y * window.stride_h - window.pad_top + ky * window.dilation_h;
    for (int kx = 0; kx < window.kernel_w; ++kx, weights += task.group_channels) {
      const int ix = x * window.stride_w - window.pad_left + kx * window.dilation_w;
      if (unsigned(iy) >= unsigned(task.input.height) || unsigned(ix) >= unsigned(task.input.width)) continue;
      const int position = (image * task.input.height + iy) * task.input.width + ix;
      for (int c = 0; c < task.group_channels; ++c) sum += task.input.value(position, first_channel + c) * weights[c];
    }
  }
  const float multiplier = task.multipliers[filter];
  if (output.real) {
    output.store_real(pixel, filter, rescale(sum, multiplier));
    return;
  }
  const int other = task.add.other.values ? task.add.other.value(pixel, filter) : 0;
  static_cast<std::uint8_t*>(output.values)[pixel * output.stride + filter] =
      std::uint8_t(finish(task, sum, multiplier, other));
}

// ---------------------------------------------------------------- weights

/// How weights (filters, channels, taps) lie for their kernel: element (filter, tap, channel) at
/// filter * filter_stride + tap * tap_stride + channel.
struct WeightLayout {
  int filters, channels, taps;
  int filter_stride, tap_stride;
};

template <class T>
__global__ void __launch_bounds__(element_threads)
    arrange_weights(const std::int16_t* weights, T* to, WeightLayout layout) {
  const std::int64_t index = std::int64_t(blockIdx.x) * element_threads + threadIdx.x;
  if (index >= std::int64_t(layout.filters) * layout.channels * layout.taps) return;
  const int tap = int(index % layout.taps), channel = int(index / layout.taps % layout.channels);
  const int filter = int(index / layout.taps / layout.channels);
  to[std::int64_t(filter) * layout.filter_stride + tap * layout.tap_stride + channel] = T(weights[index]);
}

/// Channels of a filter as the matrix kernel sees them, and bytes of its packed weights.
int matrix_channels(int group_channels, int stride) { return stride == 4 ? 4 : (group_channels + 15) / 16 * 16; }
int matrix_row(int group_channels, int stride, int taps) {
  return (taps * matrix_channels(group_channels, stride) + step_bytes - 1) / step_bytes * step_bytes;
}

}  // namespace

DeviceConvolution::DeviceConvolution(const Convolution& convolution, const Shape& input,
                                     std::span<const std::int16_t> weights, const Requantization& requantization,
                                     cudaStream_t stream)
    : window_(convolution.window),
      filters_(convolution.filters),
      groups_(convolution.groups),
      group_channels_(input.channels / convolution.groups),
      taps_(convolution.window.kernel_h * convolution.window.kernel_w),
      input_stride_(pixel_stride(input.channels)),
      bias_(requantization.bias.data(), requantization.bias.size(), stream),
      multipliers_(requantization.multiplier.data(), requantization.multiplier.size(), stream) {
  const bool fits_byte =
      std::all_of(weights.begin(), weights.end(), [](std::int16_t w) { return w >= -128 && w <= 127; });
  const bool whole_runs = group_channels_ % chunk == 0 && filters_ / groups_ % chunk == 0;
  if (groups_ > 1 && group_channels_ == 1 && filters_ == groups_) {
    kernel_ = Kernel::depthwise;
  } else if (fits_byte && (groups_ == 1 || whole_runs)) {
    kernel_ = Kernel::matrix;
  }

  const DeviceArray<std::int16_t> given(weights.data(), weights.size(), stream);
  WeightLayout layout{filters_, group_channels_, taps_, taps_ * group_channels_, group_channels_};
  const unsigned blocks = blocks_of(weights.size(), element_threads);
  if (kernel_ == Kernel::matrix) {
    row_bytes_ = matrix_row(group_channels_, input_stride_, taps_);
    packed_ = DeviceArray<std::int8_t>(std::size_t(filters_) * row_bytes_, stream);
    check(cudaMemsetAsync(packed_.data(), 0, packed_.size(), stream));
    layout.filter_stride = row_bytes_;
    layout.tap_stride = matrix_channels(group_channels_, input_stride_);
    launch(arrange_weights<std::int8_t>, blocks, element_threads, 0, stream, given.data(), packed_.data(), layout);
  } else {
    if (kernel_ == Kernel::depthwise) {
      layout.filter_stride = 1;
      layout.tap_stride = input_stride_;
    }
    const std::size_t count = kernel_ == Kernel::depthwise ? std::size_t(taps_) * input_stride_ : weights.size();
    weights_ = DeviceArray<std::int16_t>(count, stream);
    check(cudaMemsetAsync(weights_.data(), 0, count * sizeof(std::int16_t), stream));
    launch(arrange_weights<std::int16_t>, blocks, element_threads, 0, stream, given.data(), weights_.data(), layout);
  }
}

void DeviceConvolution::run(const TensorView& input, const OutputView& output, const FusedAdd* add,
                            cudaStream_t stream) const {
  ConvolutionTask task{input,   output,     window_,      group_channels_,     filters_ / groups_,
                       nullptr, row_bytes_, bias_.data(), multipliers_.data(), add ? *add : FusedAdd{}};
  if (kernel_ == Kernel::matrix) {
    task.weights = packed_.data();
    task.group_channels = matrix_channels(group_channels_, input_stride_);
    if (input_stride_ == 4) {
      launch_matrices<64, 4>(task, groups_, stream);
    } else if (task.group_filters <= 64) {
      launch_matrices<64, 16>(task, groups_, stream);
    } else {
      launch_matrices<128, 16>(task, groups_, stream);
    }
    return;
  }
  task.weights = weights_.data();
  if (kernel_ == Kernel::depthwise) {
    launch(convolve_depthwise, blocks_of(std::size_t(output.positions()) * (output.stride / 4), element_threads),
           element_threads, 0, stream, task);
  } else {
    launch(convolve_directly, blocks_of(std::size_t(output.positions()) * output.channels, element_threads),
           element_threads, 0, stream, task);
  }
}

std::size_t DeviceConvolution::bytes() const {
  return packed_.size() + 2 * weights_.size() + sizeof(std::int32_t) * bias_.size() +
         sizeof(float) * multipliers_.size();
}

std::size_t DeviceConvolution::most_bytes(const Convolution& convolution, const Shape& input) {
  const int channels = input.channels / convolution.groups, stride = pixel_stride(input.channels);
  const int taps = convolution.window.kernel_h * convolution.window.kernel_w;
  const std::size_t packed = std::size_t(convolution.filters) * matrix_row(channels, stride, taps);
  const std::size_t wide = 2 * std::max(convolution.weights.size(), std::size_t(taps) * stride);
  const std::size_t given = 2 * convolution.weights.size();
  return std::max(packed, wide) + given + 8 * std::size_t(convolution.filters);
}

}  // namespace bitcluster
