#pragma once

#include <vector>

#include "cuda/tensor.cuh"

namespace bitcluster {

// Every layer but convolutions. Four channels of a pixel per thread; the limit of all of them is the memory traffic of
// inputs and output, each of which is read or written once (pooling windows overlap in the caches).

/// Pixels (images, h, w, c) of bytes to integers by `table`, (c, 256).
void read_images(const std::uint8_t* pixels, const std::int8_t* table, const OutputView& output, cudaStream_t stream);

/// Largest value of every window; an empty one gives zero.
void pool_maximum(const TensorView& input, const Window& window, float multiplier, const OutputView& output,
                  cudaStream_t stream);

/// Mean of every window; multipliers: (h, w) of the output.
void pool_average(const TensorView& input, const Window& window, const float* multipliers, const OutputView& output,
                  cudaStream_t stream);

void add(const TensorView& a, float multiplier_a, const TensorView& b, float multiplier_b, const OutputView& output,
         cudaStream_t stream);

/// `b` has the shape of `a`, or is (channels, 1, 1).
void multiply(const TensorView& a, const TensorView& b, float multiplier, const OutputView& output,
              cudaStream_t stream);

/// Puts a tensor at channels [first, first + channels of input) of the output.
void rescale_into(const TensorView& input, float multiplier, int first, const OutputView& output, cudaStream_t stream);

/// Output of every input byte by `table`, (256) before clamping; `source`, if not null: input byte of every output
/// element of an image, (h, w, stride), -1 for zero.
void look_up(const TensorView& input, const float* table, const std::int32_t* source, const OutputView& output,
             cudaStream_t stream);

/// Local response normalization over `size` channels; table: multiplier by the sum of squares.
void normalize(const TensorView& input, int size, const float* table, const OutputView& output, cudaStream_t stream);

/// Values in (images, c, h, w) order.
void export_values(const TensorView& input, int images, std::int16_t* values, cudaStream_t stream);

}  // namespace bitcluster
