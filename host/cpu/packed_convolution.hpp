#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "host/base/buffer.hpp"
#include "host/cpu/kernels.hpp"
#include "host/inference/integer_network.hpp"

namespace bitcluster {

/// Where the result of a convolution goes.
struct ConvolutionOutput {
  void* values;  //!< (images, h, w, filters) bytes, or floats where `real` or for float convolutions
  OutputRange range;
  bool real = false;
};

/// A convolution prepared for one set of kernels: weights packed in the order in which the kernels read them, and how
/// they walk over the input. Exact for integers; for floats every sum runs in one fixed order.
class PackedConvolution {
 public:
  /// Integer weights (filters, channels / groups, kernel_h, kernel_w), int8 activations of the given sign. storage: for
  /// the packed weights, used again where it is large enough.
  PackedConvolution(const Kernels& kernels, const Convolution& convolution, const Shape& input, const Shape& output,
                    std::span<const std::int16_t> weights, bool input_is_signed, const Requantization& requantization,
                    Buffer storage = {});

  /// The float weights and biases of the layer itself.
  PackedConvolution(const Kernels& kernels, const Convolution& convolution, const Shape& input, const Shape& output);

  /// input: (images, h, w, c) bytes or floats, readable 64 bytes behind its end. scratch belongs to the calling thread.
  void run(const void* input, int images, const ConvolutionOutput& output, Buffer& scratch) const;

  /// Its storage, for another one.
  Buffer release() && { return std::move(weights_); }

 private:
  struct Strip;

  void plan(const Convolution& convolution);
  template <class Weight>
  void pack(std::span<const Weight> weights);
  void pack_depthwise(std::span<const std::int16_t> weights);
  void run_dense(const Strip& strip, const ConvolutionOutput& output) const;
  void run_depthwise(const Strip& strip, const ConvolutionOutput& output) const;
  void fill(const void* input, const Strip& strip, char* scratch) const;

  const Kernels* kernels_;
  Shape input_, output_;
  Window window_;
  int groups_, filters_;
  Arithmetic arithmetic_;
  bool input_is_signed_ = false;
  bool depthwise_ = false;
  int multiplicity_ = 1;  //!< depthwise: filters per channel

  // How the scratch copy of the input is laid out. Sizes in elements of element_bytes_.
  bool in_place_ = false;  //!< the kernels read the input itself
  int element_bytes_ = 1;
  int scratch_width_ = 0, scratch_height_ = 0, scratch_channels_ = 0;
  std::vector<std::ptrdiff_t> run_offsets_;  //!< dense: bytes; depthwise: elements, two per pair of taps
  int run_steps_ = 0;
  std::vector<int> run_taps_;  //!< dense: (runs, taps of a run) of the kernel

  Buffer weights_;
  std::size_t group_weight_bytes_ = 0;  //!< packed weights of one group
  int group_filters_padded_ = 0;
  std::vector<std::int32_t> bias_;  //!< (groups, padded filters), as bits of float for floats
  std::vector<float> multipliers_;  //!< (groups, padded filters)
};

}  // namespace bitcluster
