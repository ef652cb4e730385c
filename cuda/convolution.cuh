#pragma once

#include "cuda/tensor.cuh"
#include "host/inference/integer_network.hpp"

namespace bitcluster {

/// A sum of two tensors done where the convolution's result, one of them, is still in registers.
struct FusedAdd {
  TensorView other;      //!< shape of the convolution's output
  float multiplier = 0;  //!< of the convolution's result, in units of the sum
  float other_multiplier = 0;
  OutputRange convolution{};  //!< of the convolution's own result
};

/// One layer's weights on the device, ready for its kernel.
class DeviceConvolution {
 public:
  /// weights: (filters, channels / groups, kernel_h, kernel_w). Copied before the constructor returns.
  DeviceConvolution(const Convolution& convolution, const Shape& input, std::span<const std::int16_t> weights,
                    const Requantization& requantization, cudaStream_t stream);

  /// Output bytes or logits of output.images images; with `add` the sum instead.
  void run(const TensorView& input, const OutputView& output, const FusedAdd* add, cudaStream_t stream) const;

  std::size_t bytes() const;  //!< of device memory
  /// Device memory that the constructor takes at most, whatever the weights; part of it is given back.
  static std::size_t most_bytes(const Convolution& convolution, const Shape& input);

 private:
  enum class Kernel {
    matrix,     //!< implicit matrix product on tensor cores
    depthwise,  //!< one filter per channel
    direct,     //!< product by product: groups of odd sizes, weights beyond 8 bits
  };

  Window window_;
  int filters_, groups_, group_channels_, taps_;
  int input_stride_;
  Kernel kernel_ = Kernel::direct;
  int row_bytes_ = 0;                  //!< matrix: bytes of a filter's packed weights
  DeviceArray<std::int8_t> packed_;    //!< matrix: (filters, taps, channels), rows padded to whole steps
  DeviceArray<std::int16_t> weights_;  //!< depthwise: (taps, padded channels); direct: (filters, taps, channels)
  DeviceArray<std::int32_t> bias_;     //!< (filters)
  DeviceArray<float> multipliers_;     //!< (filters)
};

}  // namespace bitcluster
