#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <variant>
#include <vector>

#include "host/inference/backend.hpp"
#include "tests/naive_function.hpp"

/// Integer inference, one element after the other, with 64-bit sums: what every backend
/// is compared with. Shares no code with them.
namespace bitcluster::naive {

/// Integers (or, for the last layer, logits) of one image, (c, h, w).
struct Tensor {
  Shape shape;
  std::vector<std::int64_t> integers;
  std::vector<float> logits;
  std::int64_t at(int c, int h, int w) const { return integers[(std::size_t(c) * shape.height + h) * shape.width + w]; }
};

/// Values before rounding go in, in (c, h, w) order.
class Evaluator {
 public:
  explicit Evaluator(const IntegerNetwork& network) : network_(network), weights_(network.weights) {}
  Evaluator(const IntegerNetwork& network, const Variant& variant) : Evaluator(network) {
    for (const WeightChange& change : variant) weights_[change.layer] = *change.weights;
  }

  /// Every layer's tensor of one image, pixels (h, w, c).
  std::vector<Tensor> run(const std::uint8_t* pixels) {
    tensors_.clear();
    for (int i = 0; i < int(network_.network.layers.size()); ++i) {
      tensors_.emplace_back();
      tensors_.back().shape = layer(i).output;
      run_layer(i, pixels);
    }
    return tensors_;
  }

 private:
  const Layer& layer(int i) const { return network_.network.layers[i]; }
  bool is_last(int i) const { return i + 1 == int(network_.network.layers.size()); }
  double scale(int i) const { return is_last(i) ? 1.0 : double(network_.formats[i].scale); }

  void put(int i, float value) {
    if (is_last(i)) {
      tensors_[i].logits.push_back(std::clamp(value, layer(i).low, layer(i).high));
      return;
    }
    const ActivationFormat& format = network_.formats[i];
    const double low = std::max(double(format.lowest()), std::rint(double(layer(i).low) / double(format.scale)));
    const double high = std::min(double(format.highest()), std::rint(double(layer(i).high) / double(format.scale)));
    tensors_[i].integers.push_back(std::int64_t(std::clamp(std::rint(double(value)), low, high)));
  }

  void run_layer(int i, const std::uint8_t* pixels) {
    std::vector<const Tensor*> inputs;
    for (const int input : layer(i).inputs) inputs.push_back(&tensors_[input]);
    std::visit([&](const auto& operation) { compute(operation, i, inputs, pixels); }, layer(i).operation);
  }

  double input_scale(int i, int k) const { return double(network_.formats[layer(i).inputs[k]].scale); }
  /// Of an input that is rescaled alone.
  float multiplier(int i, int k) const { return float(input_scale(i, k) / scale(i)); }

  using Inputs = std::vector<const Tensor*>;

  void compute(const Input&, int i, const Inputs&, const std::uint8_t* pixels) {
    const Shape& shape = layer(i).output;
    for (int c = 0; c < shape.channels; ++c) {
      for (int p = 0; p < shape.height * shape.width; ++p) {
        tensors_[i].integers.push_back(network_.input_table[c * 256 + pixels[p * shape.channels + c]]);
      }
    }
  }

  void compute(const Convolution& convolution, int i, const Inputs& in, const std::uint8_t*) {
    const Shape& shape = layer(i).output;
    const Requantization scaling = requantization(network_, i, weights_[i]);
    const Window& window = convolution.window;
    const int group_channels = in[0]->shape.channels / convolution.groups;
    for (int f = 0; f < shape.channels; ++f) {
      const int first = f / (convolution.filters / convolution.groups) * group_channels;
      for (int y = 0; y < shape.height; ++y) {
        for (int x = 0; x < shape.width; ++x) {
          std::int64_t sum = scaling.bias[f];
          for (int c = 0; c < group_channels; ++c) {
            for_window(window, y, x, in[0]->shape, [&](int ky, int kx, int iy, int ix) {
              sum += in[0]->at(first + c, iy, ix) *
                     weights_[i]
                         .values[((std::size_t(f) * group_channels + c) * window.kernel_h + ky) * window.kernel_w + kx];
            });
          }
          put(i, float(std::int32_t(sum)) * scaling.multiplier[f]);
        }
      }
    }
  }

  void compute(const Pool& pool, int i, const Inputs& in, const std::uint8_t*) {
    const Shape& shape = layer(i).output;
    for (int c = 0; c < shape.channels; ++c) {
      for (int y = 0; y < shape.height; ++y) {
        for (int x = 0; x < shape.width; ++x) {
          std::int64_t sum = 0, highest = std::numeric_limits<std::int64_t>::min();
          int count = 0;
          for_window(pool.window, y, x, in[0]->shape, [&](int, int, int iy, int ix) {
            sum += in[0]->at(c, iy, ix);
            highest = std::max(highest, in[0]->at(c, iy, ix));
            ++count;
          });
          if (pool.kind == Pool::Kind::max) {
            put(i, float(highest) * multiplier(i, 0));
          } else {
            if (pool.count_padding) count = padded_count(pool.window, y, x, in[0]->shape);
            put(i, float(sum) * float(input_scale(i, 0) / (scale(i) * count)));
          }
        }
      }
    }
  }

  void compute(const Add&, int i, const Inputs& in, const std::uint8_t*) {
    for (std::size_t e = 0; e < layer(i).output.size(); ++e) {
      const float a = float(in[0]->integers[e]) * multiplier(i, 0), b = float(in[1]->integers[e]) * multiplier(i, 1);
      put(i, a + b);
    }
  }

  void compute(const Multiply&, int i, const Inputs& in, const std::uint8_t*) {
    const Shape& shape = layer(i).output;
    const bool per_channel = in[0]->shape != in[1]->shape;
    const float both = float(input_scale(i, 0) * input_scale(i, 1) / scale(i));
    for (std::size_t e = 0; e < shape.size(); ++e) {
      const std::size_t other = per_channel ? e / (std::size_t(shape.height) * shape.width) : e;
      put(i, float(in[0]->integers[e] * in[1]->integers[other]) * both);
    }
  }

  void compute(const Concat&, int i, const Inputs& in, const std::uint8_t*) {
    for (std::size_t k = 0; k < in.size(); ++k) {
      for (const std::int64_t value : in[k]->integers) put(i, float(value) * multiplier(i, int(k)));
    }
  }

  void compute(const Rearrange& rearrange, int i, const Inputs& in, const std::uint8_t*) {
    for (const std::int32_t source : rearrange.source) {
      put(i, source < 0 ? 0.0f : float(in[0]->integers[source]) * multiplier(i, 0));
    }
  }

  void compute(const Function& function, int i, const Inputs& in, const std::uint8_t*) {
    for (const std::int64_t value : in[0]->integers) {
      const double result = naive_function<double>(function, input_scale(i, 0) * double(value)) / scale(i);
      put(i, float(is_last(i) ? result : std::rint(result)));
    }
  }

  void compute(const LocalResponseNorm& norm, int i, const Inputs& in, const std::uint8_t*) {
    const Shape& shape = layer(i).output;
    const int before = (norm.size - 1) / 2, after = norm.size - 1 - before;
    for (int c = 0; c < shape.channels; ++c) {
      for (int p = 0; p < shape.height * shape.width; ++p) {
        const auto value = [&](int k) { return in[0]->integers[std::size_t(k) * shape.height * shape.width + p]; };
        std::int64_t squares = 0;
        for (int k = std::max(0, c - before); k <= std::min(shape.channels - 1, c + after); ++k) {
          squares += value(k) * value(k);
        }
        const double real_squares = input_scale(i, 0) * input_scale(i, 0) * double(squares);
        const double divisor =
            std::pow(double(norm.bias) + double(norm.alpha) / norm.size * real_squares, double(norm.beta));
        put(i, float(value(c)) * float(input_scale(i, 0) / scale(i) / divisor));
      }
    }
  }

  template <class Body>
  static void for_window(const Window& window, int oy, int ox, const Shape& input, Body&& body) {
    for (int ky = 0; ky < window.kernel_h; ++ky) {
      for (int kx = 0; kx < window.kernel_w; ++kx) {
        const int y = oy * window.stride_h - window.pad_top + ky * window.dilation_h;
        const int x = ox * window.stride_w - window.pad_left + kx * window.dilation_w;
        if (y >= 0 && y < input.height && x >= 0 && x < input.width) body(ky, kx, y, x);
      }
    }
  }

  static int padded_count(const Window& window, int oy, int ox, const Shape& input) {
    int count = 0;
    for (int ky = 0; ky < window.kernel_h; ++ky) {
      for (int kx = 0; kx < window.kernel_w; ++kx) {
        const int y = oy * window.stride_h - window.pad_top + ky * window.dilation_h;
        const int x = ox * window.stride_w - window.pad_left + kx * window.dilation_w;
        count += y < input.height + window.pad_bottom && x < input.width + window.pad_right;
      }
    }
    return count;
  }

  const IntegerNetwork& network_;
  std::vector<QuantizedWeights> weights_;
  std::vector<Tensor> tensors_;
};

/// Logits (count, classes).
inline std::vector<float> evaluate(const IntegerNetwork& network, const Variant& variant, const std::uint8_t* pixels,
                                   int count) {
  Evaluator evaluator(network, variant);
  std::vector<float> logits;
  for (int image = 0; image < count; ++image) {
    const std::vector<float> one = evaluator.run(pixels + image * network.network.input().size()).back().logits;
    logits.insert(logits.end(), one.begin(), one.end());
  }
  return logits;
}

}  // namespace bitcluster::naive
