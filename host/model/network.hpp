#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace bitcluster {

/// Extent of one image's tensor. Stored (c, h, w) in the float network's weights and in traces, (h, w, c) in
/// activations.
struct Shape {
  int channels = 0;
  int height = 1;
  int width = 1;

  std::size_t size() const { return std::size_t(channels) * height * width; }
  bool operator==(const Shape&) const = default;
};

/// Sliding window of a convolution or pooling layer, in input positions.
struct Window {
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;

  bool operator==(const Window&) const = default;
};

/// The image as it enters the network, after preprocessing.
struct Input {};

/// Convolution or fully connected layer. A fully connected layer is a convolution whose kernel covers its whole input.
struct Convolution {
  Window window;
  int filters = 0;
  int groups = 1;
  bool fully_connected = false;
  std::vector<float> weights;  //!< (filters, channels / groups, kernel_h, kernel_w)
  std::vector<float> bias;     //!< (filters)
};

struct Pool {
  enum class Kind { max, average };
  Kind kind = Kind::max;
  Window window;
  /// Average only: whether padding counts in the divisor. Positions that only ceil_mode reaches never count.
  bool count_padding = false;
};

/// Sum of two tensors of equal shape.
struct Add {};

/// Product of a tensor and a second one that has equal shape or is (channels, 1, 1) (squeeze-excite).
struct Multiply {};

/// Concatenation along channels.
struct Concat {};

/// Any fixed movement of elements inside one image: spatial or channel padding, slicing, transposition, channel
/// shuffle.
struct Rearrange {
  /// For every output element, in (c, h, w) order, the input element in (c, h, w) order; -1 gives zero.
  std::vector<std::int32_t> source;
};

/// Element-wise function of one tensor; function.hpp computes it.
struct Function {
  enum class Kind {
    identity,      //!< x (useful for the clamp behind it)
    leaky_relu,    //!< x < 0 ? alpha x : x
    sigmoid,       //!< 1 / (1 + exp(-x))
    hard_sigmoid,  //!< max(0, min(1, alpha x + beta))
    hard_swish,    //!< x max(0, min(1, x / 6 + 1 / 2))
    linear,        //!< alpha x + beta
    tanh,
    elu,        //!< x < 0 ? alpha (exp(x) - 1) : x
    selu,       //!< beta (x < 0 ? alpha (exp(x) - 1) : x)
    celu,       //!< x < 0 ? alpha (exp(x / alpha) - 1) : x
    softplus,   //!< log(1 + exp(x))
    softsign,   //!< x / (1 + |x|)
    erf,        //!< error function
    gelu,       //!< alpha x (1 + erf(x / sqrt(2))); the usual alpha is 1 / 2
    mish,       //!< x tanh(softplus(x))
    threshold,  //!< x > alpha ? x : 0
    absolute,   //!< |x|
    sign,       //!< -1, 0 or 1
    round,      //!< half to even
    floor,
    ceil,
  };
  Kind kind = Kind::identity;
  float alpha = 0, beta = 0;
};

/// Across-channel normalization: x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta.
struct LocalResponseNorm {
  int size = 5;
  float alpha = 1e-4f, beta = 0.75f, bias = 1;
};

using Operation = std::variant<Input, Convolution, Pool, Add, Multiply, Concat, Rearrange, Function, LocalResponseNorm>;

/// One node of the network. Its result is clamped to [low, high], which is where ReLU (0, inf) and ReLU6 (0, 6) go.
struct Layer {
  std::string name;
  Operation operation;
  std::vector<int> inputs;  //!< indices of earlier layers
  Shape output;
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  /// Distance of the integers that the model's own quantizer (QuantizeLinear) makes of the result; 0 where it has none.
  float step = 0;
};

/// A float32 network with batch normalization folded into convolutions, layers in topological order. The first layer is
/// the Input, the last one gives the logits (a Softmax at the end is dropped on import).
struct Network {
  std::string name;
  std::vector<Layer> layers;

  const Shape& input() const { return layers.front().output; }
  int classes() const { return int(layers.back().output.size()); }
};

/// Indices of the layers that have weights, in order. Position in this list is the "weighted layer" index of
/// assignments.
std::vector<int> weighted_layers(const Network& network);

/// Checks topology, shapes and weight sizes; throws Error naming the layer. Every producer of a Network calls it.
void validate(const Network& network);

/// Positions of a window along one axis. With `ceil_mode` a last position may hang over the end, if it begins inside
/// the input or its leading padding (as ONNX and PyTorch have it). 0 if the window does not fit.
int window_positions(int extent, int kernel, int stride, int dilation, int pad_before, int pad_after, bool ceil_mode);

/// Multiply-accumulate operations of one layer for one image (0 without weights).
std::int64_t multiply_accumulates(const Network& network, int layer);

}  // namespace bitcluster
