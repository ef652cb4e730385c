// Compiled once per instruction set: BITCLUSTER_KERNELS names the set (see CMakeLists.txt).

#include "host/cpu/kernels.hpp"
#include "host/cpu/vectors.hpp"

namespace bitcluster {
namespace {

struct ByteProducts {
  using Vector = Integers;
  BITCLUSTER_INLINE Vector spread(const char* from) { return broadcast(from); }
  BITCLUSTER_INLINE Vector read(const void* from) { return load(from); }
  BITCLUSTER_INLINE Vector multiply_add(Vector sum, Vector a, Vector w) { return multiply_add_bytes(sum, a, w); }
};

struct WordProducts : ByteProducts {
  BITCLUSTER_INLINE Vector multiply_add(Vector sum, Vector a, Vector w) { return multiply_add_words(sum, a, w); }
};

struct FloatProducts {
  using Vector = Floats;
  BITCLUSTER_INLINE Vector spread(const char* from) { return broadcast_float(from); }
  BITCLUSTER_INLINE Vector read(const void* from) { return load_floats(static_cast<const float*>(from)); }
  BITCLUSTER_INLINE Vector multiply_add(Vector sum, Vector a, Vector w) { return multiply_add_floats(sum, a, w); }
};

/// `groups` pixel groups times `vectors` vectors of filters: all sums stay in registers over the whole product.
template <class Products, int groups, int vectors>
[[gnu::noinline]] void run_tile(const DenseTask& task, int first_group, int first_filter, const char* weights) {
  using Vector = typename Products::Vector;
  constexpr int pixels = groups * pixel_group;
  constexpr int vector_bytes = vector_width * 4;
  Vector sums[pixels][vectors];
  unroll<vectors>([&](auto v) __attribute__((always_inline)) {
    const Vector bias = Products::read(static_cast<const char*>(task.bias) + first_filter * 4 + v * vector_bytes);
    unroll<pixels>([&](auto p) __attribute__((always_inline)) { sums[p][v] = bias; });
  });
  const char* bases[groups];
  unroll<groups>([&](auto g) __attribute__((always_inline)) { bases[g] = task.pixels[first_group + g]; });
  const std::ptrdiff_t stride = task.pixel_stride;
  for (int run = 0; run < task.runs; ++run) {
    const char* pointers[groups];
    const std::ptrdiff_t offset = task.run_offsets[run];
    unroll<groups>([&](auto g) __attribute__((always_inline)) { pointers[g] = bases[g] + offset; });
    std::ptrdiff_t at = 0, second = stride;
    for (int step = task.run_steps; step > 0; --step) {
      Vector filters[vectors];
      unroll<vectors>([&](auto v)
                          __attribute__((always_inline)) { filters[v] = Products::read(weights + v * vector_bytes); });
      weights += vectors * vector_bytes;
      unroll<pixels>([&](auto p) __attribute__((always_inline)) {
        constexpr int g = p / pixel_group;
        const Vector activation = Products::spread(pointers[g] + (p % pixel_group == 0 ? at : second));
        unroll<vectors>([&](auto v) __attribute__((always_inline)) {
          sums[p][v] = Products::multiply_add(sums[p][v], activation, filters[v]);
        });
      });
      at += 4;
      second += 4;
    }
  }
  const int filters_left = task.filters - first_filter;
  unroll<vectors>([&](auto v) __attribute__((always_inline)) {
    const int count = filters_left - v * vector_width < vector_width ? filters_left - v * vector_width : vector_width;
    if (count <= 0) return;
    unroll<pixels>([&](auto p) __attribute__((always_inline)) {
      constexpr int g = p / pixel_group;
      if (p % pixel_group >= task.output_counts[first_group + g]) return;
      const std::ptrdiff_t element = (task.first_outputs[first_group + g] + p % pixel_group) * task.output_stride +
                                     first_filter + v * vector_width;
      if constexpr (sizeof(Products) && __is_same(Vector, Floats)) {
        store_floats(static_cast<float*>(task.output) + element, clamp(sums[p][v], task.range), count);
      } else {
        const Floats multipliers = load_floats(task.multipliers + first_filter + v * vector_width);
        const Floats scaled = clamp(multiply(to_floats(sums[p][v]), multipliers), task.range);
        if (task.real) {
          store_floats(static_cast<float*>(task.output) + element, scaled, count);
        } else {
          store_bytes(static_cast<std::uint8_t*>(task.output) + element, round(scaled), count);
        }
      }
    });
  });
}

template <class Products, int groups, int vectors>
void run_tile_of(int wanted, const DenseTask& task, int first_group, int first_filter, const char* weights) {
  if constexpr (groups > 0) {
    if (wanted == groups) {
      run_tile<Products, groups, vectors>(task, first_group, first_filter, weights);
    } else {
      run_tile_of<Products, groups - 1, vectors>(wanted, task, first_group, first_filter, weights);
    }
  }
}

template <class Products, int vectors>
void run_block(const DenseTask& task, int first_filter, const char* weights) {
  constexpr int largest = block_groups[vectors - 1];
  const int tiles = (task.pixel_groups + largest - 1) / largest;
  int first = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    const int groups = (task.pixel_groups - first + tiles - tile - 1) / (tiles - tile);  // tiles of nearly equal size
    run_tile_of<Products, largest, vectors>(groups, task, first, first_filter, weights);
    first += groups;
  }
}

template <class Products>
void run_dense(const DenseTask& task) {
  const std::ptrdiff_t vector_bytes = std::ptrdiff_t(task.runs) * task.run_steps * vector_width * 4;
  const char* weights = task.weights;
  int filter = 0;
  for (; filter + vector_width < task.filters; filter += 2 * vector_width) {
    run_block<Products, 2>(task, filter, weights);
    weights += 2 * vector_bytes;
  }
  if (filter < task.filters) run_block<Products, 1>(task, filter, weights);
}

void run_dense_task(const DenseTask& task) {
  switch (task.arithmetic) {
    case Arithmetic::bytes:
#if defined(__AVX512VNNI__)
      run_dense<ByteProducts>(task);
#endif
      break;
    case Arithmetic::words:
      run_dense<WordProducts>(task);
      break;
    case Arithmetic::floats:
      run_dense<FloatProducts>(task);
      break;
  }
}

BITCLUSTER_INLINE void run_depthwise_pixels(const DepthwiseTask& task, int channel, const std::int16_t* weights,
                                            const std::int32_t* bias, const float* multipliers) {
  const int count = task.channels - channel < 2 * vector_width ? task.channels - channel : 2 * vector_width;
  for (int pixel = 0; pixel < task.pixels; ++pixel) {
    const std::int16_t* input = task.input + pixel * task.pixel_stride + channel;
    Integers low = load(bias), high = load(bias + vector_width);
    const std::int16_t* pair_weights = weights;
    for (int pair = 0; pair < task.tap_pairs; ++pair) {
      const Integers first = load(input + task.tap_offsets[2 * pair]);
      const Integers second = load(input + task.tap_offsets[2 * pair + 1]);
      low = multiply_add_words(low, interleave_low(first, second), load(pair_weights));
      high = multiply_add_words(high, interleave_high(first, second), load(pair_weights + 2 * vector_width));
      pair_weights += 4 * vector_width;
    }
    const Floats scaled_low = clamp(multiply(to_floats(low), load_floats(multipliers)), task.range);
    const Floats scaled_high = clamp(multiply(to_floats(high), load_floats(multipliers + vector_width)), task.range);
    const std::ptrdiff_t element = std::ptrdiff_t(pixel) * task.channels + channel;
    if (task.real) {
      float* output = static_cast<float*>(task.output) + element;
      float halves[2][vector_width];
      store_floats(halves[0], scaled_low, vector_width);
      store_floats(halves[1], scaled_high, vector_width);
      // interleaving works on 128 bits at a time: channels 8 j + (0..3) are low, 8 j + (4..7) high
      for (int i = 0; i < count; ++i) output[i] = halves[i / 4 % 2][i / 8 * 4 + i % 4];
    } else {
      store_halves(static_cast<std::uint8_t*>(task.output) + element, round(scaled_low), round(scaled_high), count);
    }
  }
}

void run_depthwise(const DepthwiseTask& task) {
  const std::int16_t* weights = task.weights;
  for (int channel = 0; channel < task.channels; channel += 2 * vector_width) {
    run_depthwise_pixels(task, channel, weights, task.bias + channel, task.multipliers + channel);
    weights += std::ptrdiff_t(task.tap_pairs) * 4 * vector_width;
  }
}

}  // namespace

void BITCLUSTER_NAME(add_convolution_kernels_, BITCLUSTER_KERNELS)(Kernels& kernels) {
#if defined(__AVX512VNNI__)
  kernels.has_bytes = true;
#else
  kernels.has_bytes = false;
#endif
  kernels.vector_width = vector_width;
  kernels.block_vectors = 2;
  kernels.pixel_group = pixel_group;
  kernels.dense = run_dense_task;
  kernels.depthwise = run_depthwise;
}

}  // namespace bitcluster
