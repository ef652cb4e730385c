#include "cuda/elements.cuh"

namespace bitcluster {
namespace {

constexpr int element_threads = 256;

/// Stores operation(position, channel, four values) for all groups of four channels below `channels`, `first` channels
/// into the output.
template <class Operation>
__global__ void __launch_bounds__(element_threads)
    for_each_quad(Operation operation, OutputView output, int first, int channels) {
  const int quads = (channels + 3) / 4;
  const std::int64_t index = std::int64_t(blockIdx.x) * element_threads + threadIdx.x;
  if (index >= std::int64_t(output.positions()) * quads) return;
  const int position = int(index / quads), channel = int(index % quads) * 4;
  float values[4];
  operation(position, channel, values);
  if (output.real) {
    for (int i = 0; i < 4 && channel + i < channels; ++i) output.store_real(position, first + channel + i, values[i]);
    return;
  }
  std::uint8_t* const to = static_cast<std::uint8_t*>(output.values) + position * output.stride + first + channel;
  if (first % 4 == 0 && channel + 4 <= channels) {
    std::uint32_t bytes = 0;
    for (int i = 0; i < 4; ++i) bytes |= std::uint32_t(round_to_range(values[i], output.range) & 255) << (8 * i);
    *reinterpret_cast<std::uint32_t*>(to) = bytes;
  } else {
    for (int i = 0; i < 4 && channel + i < channels; ++i) to[i] = std::uint8_t(round_to_range(values[i], output.range));
  }
}

template <class Operation>
void for_each(const Operation& operation, const OutputView& output, int first, int channels, cudaStream_t stream) {
  launch(for_each_quad<Operation>, blocks_of(std::size_t(output.positions()) * ((channels + 3) / 4), element_threads),
         element_threads, 0, stream, operation, output, first, channels);
}

template <class Visit>
__device__ void visit_window(const TensorView& input, const Window& window, const OutputView& output, int position,
                             Visit&& visit) {
  const int x = position % output.width, row = position / output.width;
  const int y = row % output.height, image = row / output.height;
  for (int ky = 0; ky < window.kernel_h; ++ky) {
    const int iy = y * window.stride_h - window.pad_top + ky * window.dilation_h;
    if (unsigned(iy) >= unsigned(input.height)) continue;
    for (int kx = 0; kx < window.kernel_w; ++kx) {
      const int ix = x * window.stride_w - window.pad_left + kx * window.dilation_w;
      if (unsigned(ix) >= unsigned(input.width)) continue;
      visit((image * input.height + iy) * input.width + ix);
    }
  }
}

struct ReadImages {
  const std::uint8_t* pixels;
  const std::int8_t* table;
  int channels;

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    for (int i = 0; i < 4; ++i) {
      const int c = channel + i;
      values[i] = c < channels ? float(table[c * 256 + pixels[std::int64_t(position) * channels + c]]) : 0.0f;
    }
  }
};

struct PoolMaximum {
  TensorView input;
  Window window;
  float multiplier;
  OutputView output;

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    constexpr int nothing = -128;  // below every value: activations are sign-magnitude
    int largest[4] = {nothing, nothing, nothing, nothing};
    visit_window(input, window, output, position, [&](int place) {
      int four[4];
      input.load(place, channel, four);
      for (int i = 0; i < 4; ++i) largest[i] = four[i] > largest[i] ? four[i] : largest[i];
    });
    for (int i = 0; i < 4; ++i) values[i] = rescale(largest[i] == nothing ? 0 : largest[i], multiplier);
  }
};

struct PoolAverage {
  TensorView input;
  Window window;
  const float* multipliers;
  OutputView output;

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    std::int32_t sums[4] = {};
    visit_window(input, window, output, position, [&](int place) {
      int four[4];
      input.load(place, channel, four);
      for (int i = 0; i < 4; ++i) sums[i] += four[i];
    });
    const float multiplier = multipliers[position % (output.height * output.width)];
    for (int i = 0; i < 4; ++i) values[i] = rescale(sums[i], multiplier);
  }
};

struct AddTensors {
  TensorView a, b;
  float multiplier_a, multiplier_b;

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    int x[4], y[4];
    a.load(position, channel, x);
    b.load(position, channel, y);
    for (int i = 0; i < 4; ++i) values[i] = rescale_sum(x[i], multiplier_a, y[i], multiplier_b);
  }
};

struct MultiplyTensors {
  TensorView a, b;
  float multiplier;
  int plane;  //!< positions of `a` that share a position of `b`

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    int x[4], y[4];
    a.load(position, channel, x);
    b.load(position / plane, channel, y);
    for (int i = 0; i < 4; ++i) values[i] = rescale_product(x[i], y[i], multiplier);
  }
};

struct Rescale {
  TensorView input;
  float multiplier;

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    int four[4];
    input.load(position, channel, four);
    for (int i = 0; i < 4; ++i) values[i] = rescale(four[i], multiplier);
  }
};

struct LookUp {
  TensorView input;
  const float* table;
  const std::int32_t* source;
  int plane;         //!< of the output
  int stride;        //!< of the output
  int channels;      //!< of the output
  int image_stride;  //!< of the input

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    for (int i = 0; i < 4; ++i) {
      if (channel + i >= channels) {
        values[i] = 0;
        continue;
      }
      if (!source) {
        values[i] = table[input.values[position * input.stride + channel + i]];
        continue;
      }
      const std::int32_t from = source[position % plane * stride + channel + i];
      values[i] = table[from < 0 ? 0 : input.values[position / plane * image_stride + from]];
    }
  }
};

struct Normalize {
  TensorView input;
  int size;
  const float* table;

  __device__ void operator()(int position, int channel, float (&values)[4]) const {
    for (int i = 0; i < 4; ++i) {
      const int c = channel + i, first = c - (size - 1) / 2;
      if (c >= input.channels) {
        values[i] = 0;
        continue;
      }
      std::int32_t squares = 0;
      for (int k = first < 0 ? 0 : first; k < first + size && k < input.channels; ++k) {
        const int value = input.value(position, k);
        squares += value * value;
      }
      values[i] = rescale(input.value(position, c), table[squares]);
    }
  }
};

__global__ void __launch_bounds__(element_threads) export_all(TensorView input, int images, std::int16_t* values) {
  const int plane = input.height * input.width;
  const std::int64_t index = std::int64_t(blockIdx.x) * element_threads + threadIdx.x;
  if (index >= std::int64_t(images) * plane * input.channels) return;
  const int position = int(index % plane), channel = int(index / plane % input.channels);
  const int image = int(index / plane / input.channels);
  values[index] = std::int16_t(input.value(image * plane + position, channel));
}

}  // namespace

void read_images(const std::uint8_t* pixels, const std::int8_t* table, const OutputView& output, cudaStream_t stream) {
  for_each(ReadImages{pixels, table, output.channels}, output, 0, output.channels, stream);
}

void pool_maximum(const TensorView& input, const Window& window, float multiplier, const OutputView& output,
                  cudaStream_t stream) {
  for_each(PoolMaximum{input, window, multiplier, output}, output, 0, output.channels, stream);
}

void pool_average(const TensorView& input, const Window& window, const float* multipliers, const OutputView& output,
                  cudaStream_t stream) {
  for_each(PoolAverage{input, window, multipliers, output}, output, 0, output.channels, stream);
}

void add(const TensorView& a, float multiplier_a, const TensorView& b, float multiplier_b, const OutputView& output,
         cudaStream_t stream) {
  for_each(AddTensors{a, b, multiplier_a, multiplier_b}, output, 0, output.channels, stream);
}

void multiply(const TensorView& a, const TensorView& b, float multiplier, const OutputView& output,
              cudaStream_t stream) {
  const int plane = a.height * a.width / (b.height * b.width);
  for_each(MultiplyTensors{a, b, multiplier, plane}, output, 0, output.channels, stream);
}

void rescale_into(const TensorView& input, float multiplier, int first, const OutputView& output, cudaStream_t stream) {
  for_each(Rescale{input, multiplier}, output, first, input.channels, stream);
}

void look_up(const TensorView& input, const float* table, const std::int32_t* source, const OutputView& output,
             cudaStream_t stream) {
  for_each(LookUp{input, table, source, output.height * output.width, output.stride, output.channels,
                  input.height * input.width * input.stride},
           output, 0, output.channels, stream);
}

void normalize(const TensorView& input, int size, const float* table, const OutputView& output, cudaStream_t stream) {
  for_each(Normalize{input, size, table}, output, 0, output.channels, stream);
}

void export_values(const TensorView& input, int images, std::int16_t* values, cudaStream_t stream) {
  launch(export_all, blocks_of(std::size_t(images) * input.height * input.width * input.channels, element_threads),
         element_threads, 0, stream, input, images, values);
}

}  // namespace bitcluster
