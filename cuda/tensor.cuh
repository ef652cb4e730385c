#pragma once

#include <cstdint>

#include "cuda/runtime.cuh"
#include "host/inference/arithmetic.hpp"
#include "host/model/network.hpp"

namespace bitcluster {

/// 8-bit activations on the device: (images, h, w, stride), of which the first `channels` of a pixel are the tensor's
/// and the rest is undefined. Positions and offsets are int32, so no tensor may exceed 2^31 - 1 bytes.
using Activations = DeviceArray<std::uint8_t>;

/// Bytes of one pixel: a matrix instruction's operands come in runs of 16, images of up to 4 channels in runs of 4.
constexpr int pixel_stride(int channels) { return channels <= 4 ? 4 : (channels + 15) / 16 * 16; }

/// What kernels need to know of a tensor.
struct TensorView {
  const std::uint8_t* values = nullptr;
  int height = 1, width = 1, channels = 0, stride = 0;
  bool is_signed = false;

  BITCLUSTER_DEVICE int value(int position, int channel) const {
    const std::uint8_t byte = values[position * stride + channel];
    return is_signed ? int(std::int8_t(byte)) : int(byte);
  }
  /// Four neighbouring channels, the first a multiple of 4.
  BITCLUSTER_DEVICE void load(int position, int channel, int (&four)[4]) const {
    const std::uint32_t bytes = *reinterpret_cast<const std::uint32_t*>(values + position * stride + channel);
    for (int i = 0; i < 4; ++i) {
      const std::uint8_t byte = std::uint8_t(bytes >> (8 * i));
      four[i] = is_signed ? int(std::int8_t(byte)) : int(byte);
    }
  }
};

/// Where a kernel puts a layer's output.
struct OutputView {
  void* values = nullptr;  //!< bytes like TensorView's, or float logits (images, channels, h, w)
  int images = 0, height = 1, width = 1, channels = 0, stride = 0;
  OutputRange range{};
  bool real = false;  //!< logits

  BITCLUSTER_DEVICE int positions() const { return images * height * width; }
  BITCLUSTER_DEVICE void store_real(int position, int channel, float value) const {
    const int plane = height * width;
    static_cast<float*>(values)[(position / plane * channels + channel) * plane + position % plane] =
        clamp_to(value, range);
  }
};

}  // namespace bitcluster
