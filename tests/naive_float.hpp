#pragma once

#include <algorithm>
#include <cmath>

#include "host/cpu/float_network.hpp"
#include "tests/naive_function.hpp"

/// Float inference as plain loops: what host/cpu/float_network.cpp is compared with. Shares no code with it.
namespace bitcluster::naive {

/// One image's tensor, (h, w, c).
struct FloatTensor {
  Shape shape;
  std::vector<float> values;

  explicit FloatTensor(const Shape& s) : shape(s), values(s.size()) {}
  float& at(int c, int h, int w) { return values[(std::size_t(h) * shape.width + w) * shape.channels + c]; }
  float at(int c, int h, int w) const { return values[(std::size_t(h) * shape.width + w) * shape.channels + c]; }
};

/// Computes one operation for one image.
struct EvaluateFloat {
  const std::vector<const FloatTensor*>& inputs;
  FloatTensor& output;

  void operator()(const Input&) const {}

  void operator()(const Convolution& convolution) const {
    const Window& window = convolution.window;
    const FloatTensor& input = *inputs[0];
    const int group_channels = input.shape.channels / convolution.groups;
    const int group_filters = convolution.filters / convolution.groups;
    for (int f = 0; f < convolution.filters; ++f) {
      const int first_channel = f / group_filters * group_channels;
      const float* weights =
          convolution.weights.data() + std::size_t(f) * group_channels * window.kernel_h * window.kernel_w;
      for (int oy = 0; oy < output.shape.height; ++oy) {
        for (int ox = 0; ox < output.shape.width; ++ox) {
          float sum = convolution.bias[f];
          for_window(window, oy, ox, input.shape, [&](int ky, int kx, int y, int x) {
            for (int c = 0; c < group_channels; ++c) {
              sum += weights[(c * window.kernel_h + ky) * window.kernel_w + kx] * input.at(first_channel + c, y, x);
            }
          });
          output.at(f, oy, ox) = sum;
        }
      }
    }
  }

  void operator()(const Pool& pool) const {
    const FloatTensor& input = *inputs[0];
    const Window& window = pool.window;
    for (int c = 0; c < output.shape.channels; ++c) {
      for (int oy = 0; oy < output.shape.height; ++oy) {
        for (int ox = 0; ox < output.shape.width; ++ox) {
          float sum = 0, highest = -std::numeric_limits<float>::infinity();
          int inside = 0;
          for_window(window, oy, ox, input.shape, [&](int, int, int y, int x) {
            sum += input.at(c, y, x);
            highest = std::max(highest, input.at(c, y, x));
            ++inside;
          });
          if (pool.kind == Pool::Kind::max) {
            output.at(c, oy, ox) = highest;
          } else {
            output.at(c, oy, ox) = sum / float(pool.count_padding ? padded_count(window, oy, ox, input.shape) : inside);
          }
        }
      }
    }
  }

  void operator()(const Add&) const {
    for (std::size_t i = 0; i < output.values.size(); ++i) {
      output.values[i] = inputs[0]->values[i] + inputs[1]->values[i];
    }
  }

  void operator()(const Multiply&) const {
    const bool per_channel = inputs[1]->shape != inputs[0]->shape;
    for (std::size_t i = 0; i < output.values.size(); ++i) {
      output.values[i] =
          inputs[0]->values[i] * inputs[1]->values[per_channel ? i % std::size_t(output.shape.channels) : i];
    }
  }

  void operator()(const Concat&) const {
    int first = 0;
    for (const FloatTensor* input : inputs) {
      for (int y = 0; y < output.shape.height; ++y) {
        for (int x = 0; x < output.shape.width; ++x) {
          for (int c = 0; c < input->shape.channels; ++c) output.at(first + c, y, x) = input->at(c, y, x);
        }
      }
      first += input->shape.channels;
    }
  }

  void operator()(const Rearrange& rearrange) const {
    const Shape& from = inputs[0]->shape;
    const Shape& to = output.shape;
    for (std::size_t i = 0; i < rearrange.source.size(); ++i) {
      const int source = rearrange.source[i];
      const int plane = from.height * from.width;
      const float value =
          source < 0 ? 0 : inputs[0]->at(source / plane, source % plane / from.width, source % from.width);
      const int position = int(i), to_plane = to.height * to.width;
      output.at(position / to_plane, position % to_plane / to.width, position % to.width) = value;
    }
  }

  void operator()(const Function& function) const {
    for (std::size_t i = 0; i < output.values.size(); ++i)
      output.values[i] = naive_function<float>(function, inputs[0]->values[i]);
  }

  void operator()(const LocalResponseNorm& norm) const {
    const FloatTensor& input = *inputs[0];
    const int before = (norm.size - 1) / 2, after = norm.size - 1 - before;
    for (int y = 0; y < output.shape.height; ++y) {
      for (int x = 0; x < output.shape.width; ++x) {
        for (int c = 0; c < output.shape.channels; ++c) {
          float squares = 0;
          for (int k = std::max(0, c - before); k <= std::min(output.shape.channels - 1, c + after); ++k) {
            squares += input.at(k, y, x) * input.at(k, y, x);
          }
          output.at(c, y, x) =
              input.at(c, y, x) / std::pow(norm.bias + norm.alpha / float(norm.size) * squares, norm.beta);
        }
      }
    }
  }

  /// Calls body(ky, kx, y, x) for the positions of a window that lie inside the input.
  template <class Body>
  static void for_window(const Window& window, int oy, int ox, const Shape& input, Body&& body) {
    for (int ky = 0; ky < window.kernel_h; ++ky) {
      const int y = oy * window.stride_h - window.pad_top + ky * window.dilation_h;
      if (y < 0 || y >= input.height) continue;
      for (int kx = 0; kx < window.kernel_w; ++kx) {
        const int x = ox * window.stride_w - window.pad_left + kx * window.dilation_w;
        if (x >= 0 && x < input.width) body(ky, kx, y, x);
      }
    }
  }

  /// Positions of a window inside the padded input; what only ceil_mode reaches does not count.
  static int padded_count(const Window& window, int oy, int ox, const Shape& input) {
    const auto along = [](int start, int kernel, int dilation, int end) {
      int count = 0;
      for (int k = 0; k < kernel; ++k) count += start + k * dilation < end;
      return count;
    };
    return along(oy * window.stride_h - window.pad_top, window.kernel_h, window.dilation_h,
                 input.height + window.pad_bottom) *
           along(ox * window.stride_w - window.pad_left, window.kernel_w, window.dilation_w,
                 input.width + window.pad_right);
  }
};

inline std::vector<float> run_float(const Network& network, std::span<const float> images, int count,
                                    const ActivationObserver& observer) {
  const std::size_t image_size = network.input().size();
  const int classes = network.classes();
  std::vector<float> logits(std::size_t(count) * classes);
  for (int image = 0; image < count; ++image) {
    std::vector<FloatTensor> tensors;
    for (int index = 0; index < int(network.layers.size()); ++index) {
      const Layer& layer = network.layers[index];
      std::vector<const FloatTensor*> inputs;
      for (const int input : layer.inputs) inputs.push_back(&tensors[input]);
      FloatTensor output(layer.output);
      if (index == 0) {
        std::copy_n(images.data() + image * image_size, image_size, output.values.begin());
      } else {
        std::visit(EvaluateFloat{inputs, output}, layer.operation);
      }
      for (float& value : output.values) value = std::clamp(value, layer.low, layer.high);
      if (observer) observer(int(image), index, output.values);
      tensors.push_back(std::move(output));
    }
    const FloatTensor& last = tensors.back();
    for (int i = 0; i < classes; ++i) {
      const int plane = last.shape.height * last.shape.width;
      logits[image * classes + i] = last.at(i / plane, i % plane / last.shape.width, i % last.shape.width);
    }
  }
  return logits;
}

}  // namespace bitcluster::naive
