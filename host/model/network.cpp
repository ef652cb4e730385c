#include "host/model/network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

std::string to_string(const Shape& shape) { return fmt::format("{}x{}x{}", shape.channels, shape.height, shape.width); }

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

/// Whether every position of a window has at least one tap inside the input.
bool always_inside(int positions, int extent, int kernel, int stride, int dilation, int pad_before) {
  for (std::int64_t position = 0; position < positions; ++position) {
    const std::int64_t start = position * stride - pad_before;
    // the first tap that is not before the input
    const std::int64_t tap = start >= 0 ? 0 : (-start + dilation - 1) / dilation;
    if (tap >= kernel || start + tap * dilation >= extent) return false;
  }
  return true;
}

/// Checks one layer against the layers that it reads.
struct Check {
  const Network& network;
  const Layer& layer;

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(fmt::format("layer '{}' of network '{}' is not valid", layer.name, network.name), why,
                "check the model or how it was exported");
  }

  void require(bool condition, const char* why) const {
    if (!condition) fail(why);
  }

  const Shape& input(int index = 0) const { return network.layers[layer.inputs[index]].output; }

  void require_inputs(std::size_t count) const {
    if (layer.inputs.size() != count) {
      fail(fmt::format("it has {} inputs instead of {}", layer.inputs.size(), count));
    }
  }

  void require_output(const Shape& expected) const {
    if (layer.output != expected) {
      fail(fmt::format("its output is {}, but its inputs give {}", to_string(layer.output), to_string(expected)));
    }
  }

  void check_window(const Window& w) const {
    require(std::min({w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w}) >= 1,
            "its kernel, strides and dilations must be positive");
    require(std::min({w.pad_top, w.pad_left, w.pad_bottom, w.pad_right}) >= 0, "its padding is negative");
  }

  int positions_h(const Window& w, bool ceil_mode) const {
    return window_positions(input().height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom, ceil_mode);
  }

  int positions_w(const Window& w, bool ceil_mode) const {
    return window_positions(input().width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right, ceil_mode);
  }

  void operator()(const Input&) const { fail("only the first layer can be the input"); }

  void operator()(const Convolution& convolution) const {
    require_inputs(1);
    const Window& window = convolution.window;
    check_window(window);
    const int channels = input().channels, groups = convolution.groups, filters = convolution.filters;
    require(filters >= 1 && groups >= 1, "its filters and groups must be positive");
    require(channels % groups == 0 && filters % groups == 0, "its groups do not divide its channels and filters");
    require(
        double(filters) * (channels / groups) * window.kernel_h * window.kernel_w == double(convolution.weights.size()),
        "the number of its weights is not filters * channels / groups * kernel");
    require(convolution.bias.size() == std::size_t(filters), "it needs one bias per filter");
    require(all_finite(convolution.weights) && all_finite(convolution.bias),
            "a weight or bias is not finite (NaN or infinite)");
    require_output({filters, positions_h(window, false), positions_w(window, false)});
    if (convolution.fully_connected) {
      require(window.kernel_h == input().height && window.kernel_w == input().width && groups == 1 &&
                  layer.output.size() == std::size_t(filters),
              "it is fully connected, but its kernel does not cover its whole input");
    }
  }

  void operator()(const Pool& pool) const {
    require_inputs(1);
    const Window& w = pool.window;
    check_window(w);
    const Shape& out = layer.output;
    require(out.channels == input().channels, "pooling cannot change the number of channels");
    require(out.height == positions_h(w, false) || out.height == positions_h(w, true),
            "its output height does not fit its window");
    require(out.width == positions_w(w, false) || out.width == positions_w(w, true),
            "its output width does not fit its window");
    require(always_inside(out.height, input().height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top) &&
                always_inside(out.width, input().width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left),
            "a window lies wholly in the padding");
  }

  void operator()(const Add&) const {
    require_inputs(2);
    require(input(0) == input(1), "it adds tensors of different shapes");
    require_output(input(0));
  }

  void operator()(const Multiply&) const {
    require_inputs(2);
    require(input(1) == input(0) || input(1) == Shape{input(0).channels, 1, 1},
            "its second input must have the shape of the first or be (channels, 1, 1)");
    require_output(input(0));
  }

  void operator()(const Concat&) const {
    require(!layer.inputs.empty(), "it has no inputs");
    std::int64_t channels = 0;
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      const Shape& part = input(int(i));
      require(part.height == input().height && part.width == input().width, "its inputs differ in height or width");
      channels += part.channels;
    }
    require(channels <= std::numeric_limits<int>::max(), "it has too many channels");
    require_output({int(channels), input().height, input().width});
  }

  void operator()(const Rearrange& rearrange) const {
    require_inputs(1);
    require(rearrange.source.size() == layer.output.size(), "it needs one source per output element");
    const auto size = std::int64_t(input().size());
    require(std::all_of(rearrange.source.begin(), rearrange.source.end(),
                        [&](std::int64_t source) { return source >= -1 && source < size; }),
            "a source is outside its input");
  }

  void operator()(const Function& function) const {
    require_inputs(1);
    require(std::isfinite(function.alpha) && std::isfinite(function.beta), "alpha or beta is not finite");
    require_output(input());
  }

  void operator()(const LocalResponseNorm& norm) const {
    require_inputs(1);
    require(norm.size >= 1, "its size must be positive");
    require(std::isfinite(norm.alpha) && std::isfinite(norm.beta) && std::isfinite(norm.bias),
            "alpha, beta or bias is not finite");
    require_output(input());
  }
};

}  // namespace

std::vector<int> weighted_layers(const Network& network) {
  std::vector<int> indices;
  for (int i = 0; i < int(network.layers.size()); ++i) {
    if (std::holds_alternative<Convolution>(network.layers[i].operation)) indices.push_back(i);
  }
  return indices;
}

void validate(const Network& network) {
  if (network.layers.empty() || !std::holds_alternative<Input>(network.layers.front().operation)) {
    throw Error(fmt::format("network '{}' is not valid", network.name), "its first layer is not the input",
                "check the model or how it was exported");
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    const Check check{network, layer};
    check.require(names.insert(layer.name).second, "another layer has the same name");
    const Shape& out = layer.output;
    check.require(out.channels >= 1 && out.height >= 1 && out.width >= 1, "its output is empty");
    check.require(double(out.channels) * out.height * out.width <= double(std::numeric_limits<std::int32_t>::max()),
                  "its output has more than 2^31 - 1 elements");
    check.require(layer.low <= layer.high, "its clamp has a lower bound above the upper one");
    for (const int input : layer.inputs) {
      check.require(input >= 0 && input < int(i), "it reads a layer that does not come before it");
    }
    if (i == 0) {
      check.require(layer.inputs.empty(), "the input reads another layer");
    } else {
      std::visit(check, layer.operation);
    }
  }
}

int window_positions(int extent, int kernel, int stride, int dilation, int pad_before, int pad_after, bool ceil_mode) {
  const std::int64_t span = std::int64_t(dilation) * (kernel - 1) + 1;
  const std::int64_t room = std::int64_t(extent) + pad_before + pad_after - span;
  if (room < 0) return 0;
  std::int64_t positions = room / stride + 1;
  if (ceil_mode && room % stride != 0 && positions * stride < std::int64_t(extent) + pad_before) ++positions;
  return int(std::min<std::int64_t>(positions, std::numeric_limits<int>::max()));
}

std::int64_t multiply_accumulates(const Network& network, int layer) {
  const auto* convolution = std::get_if<Convolution>(&network.layers[layer].operation);
  if (!convolution) return 0;
  const Shape& output = network.layers[layer].output;
  return std::int64_t(convolution->weights.size()) * output.height * output.width;
}

}  // namespace bitcluster
