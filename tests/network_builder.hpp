#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host/inference/backend.hpp"

namespace bitcluster {

/// Builds integer networks by hand, with random weights whose sums spread over the 8-bit range of the output. The float
/// weights are the integers times their scale.
class NetworkBuilder {
 public:
  static constexpr float infinity = std::numeric_limits<float>::infinity();

  NetworkBuilder(unsigned seed, const Shape& input) : random_(seed) {
    network_.network.name = "built by hand";
    add(Input{}, {}, input, {0.02f, true});
    for (int c = 0; c < input.channels; ++c) {
      for (int byte = 0; byte < 256; ++byte)
        network_.input_table.push_back(std::int8_t(std::clamp(byte - 128, -127, 127)));
    }
  }

  const Shape& shape(int layer) const { return network_.network.layers[layer].output; }
  const IntegerNetwork& network() const { return network_; }
  IntegerNetwork& network() { return network_; }
  int last() const { return int(network_.network.layers.size()) - 1; }
  int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }

  int add(Operation operation, std::vector<int> inputs, const Shape& output, ActivationFormat format,
          float low = -infinity, float high = infinity) {
    const std::string name = "layer" + std::to_string(network_.network.layers.size());
    network_.network.layers.push_back({name, std::move(operation), std::move(inputs), output, low, high});
    network_.formats.push_back(format);
    network_.weights.emplace_back();
    return last();
  }

  /// Identity that doubles the integers, so that the image's signed values reach the whole range of either sign.
  int spread(int input, bool is_signed) {
    return add(Function{}, {input}, shape(input),
               {network_.formats[input].scale * (is_signed ? 1.0f : 0.5f), is_signed}, is_signed ? -infinity : 0);
  }

  int convolution(int input, int filters, const Window& window, int groups = 1, int bits = 8, bool is_signed = false) {
    const Shape& from = shape(input);
    Convolution convolution{window, filters, groups, false, {}, {}};
    const Shape output{
        filters,
        extent(from.height, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top + window.pad_bottom),
        extent(from.width, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left + window.pad_right)};
    const int size = from.channels / groups * window.kernel_h * window.kernel_w;
    convolution.weights.resize(std::size_t(filters) * size);
    convolution.bias.resize(filters);
    const int layer = add(std::move(convolution), {input}, output, {1, is_signed}, is_signed ? -infinity : 0);
    network_.weights[layer] = *random_weights(layer, bits);
    const float sum_scale = network_.formats[input].scale * network_.weights[layer].scales[0];
    network_.formats[layer].scale = sum_scale * float(1 << (bits - 1)) * std::sqrt(float(size));
    auto& built = std::get<Convolution>(network_.network.layers[layer].operation);
    for (float& bias : built.bias) bias = float(pick(-2000, 2000)) * sum_scale;
    for (std::size_t i = 0; i < built.weights.size(); ++i) {
      built.weights[i] = float(network_.weights[layer].values[i]) * network_.weights[layer].scales[i / size];
    }
    return layer;
  }

  int fully_connected(int input, int filters) {
    const int layer = convolution(input, filters, {.kernel_h = shape(input).height, .kernel_w = shape(input).width});
    std::get<Convolution>(network_.network.layers[layer].operation).fully_connected = true;
    return layer;
  }

  int pool(int input, Pool::Kind kind, const Window& window, bool count_padding = false) {
    const Shape& from = shape(input);
    return add(
        Pool{kind, window, count_padding}, {input},
        {from.channels,
         extent(from.height, window.kernel_h, window.stride_h, window.dilation_h, window.pad_top + window.pad_bottom),
         extent(from.width, window.kernel_w, window.stride_w, window.dilation_w, window.pad_left + window.pad_right)},
        network_.formats[input]);
  }

  int global_average(int input) {
    return pool(input, Pool::Kind::average, {.kernel_h = shape(input).height, .kernel_w = shape(input).width});
  }

  /// Residual sum of signed tensors.
  int add(int a, int b) { return add(Add{}, {a, b}, shape(a), {network_.formats[a].scale * 1.3f, true}); }

  /// Residual sum with ReLU.
  int add_relu(int a, int b) { return add(Add{}, {a, b}, shape(a), {network_.formats[a].scale * 1.3f, false}, 0); }

  /// Other weights for a layer, about half of them zero.
  std::shared_ptr<QuantizedWeights> random_weights(int layer, int bits) {
    const auto& convolution = std::get<Convolution>(network_.network.layers[layer].operation);
    auto weights = std::make_shared<QuantizedWeights>();
    weights->format.bits = bits;
    const int largest = (1 << (bits - 1)) - 1;
    for (std::size_t i = 0; i < convolution.weights.size(); ++i) {
      weights->values.push_back(pick(0, 1) ? std::int16_t(pick(-largest, largest)) : std::int16_t(0));
    }
    for (int filter = 0; filter < convolution.filters; ++filter) {
      weights->scales.push_back(float(pick(80, 120)) * 1e-4f / float(largest));
    }
    return weights;
  }

  std::vector<std::uint8_t> images(int count) {
    std::vector<std::uint8_t> pixels(count * network_.network.input().size());
    for (std::uint8_t& pixel : pixels) pixel = std::uint8_t(pick(0, 255));
    return pixels;
  }

  static int extent(int input, int kernel, int stride, int dilation, int padding) {
    return (input + padding - (kernel - 1) * dilation - 1) / stride + 1;
  }

 private:
  std::mt19937 random_;
  IntegerNetwork network_;
};

}  // namespace bitcluster
