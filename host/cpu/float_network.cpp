#include "host/cpu/float_network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <variant>

#include "host/base/error.hpp"
#include "host/base/overloaded.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/packed_convolution.hpp"
#include "host/model/function.hpp"

namespace bitcluster {
namespace {

/// Images that share one reading of the weights. Few, because float tensors leave the caches soon.
constexpr int chunk = 4;

/// A depthwise convolution with one filter per channel: weights (kernel_h, kernel_w, channels).
struct DepthwiseWeights {
  std::vector<float> values;
};

/// What is prepared of a layer before the first image.
struct FloatLayerPlan {
  std::optional<PackedConvolution> convolution;
  std::optional<DepthwiseWeights> depthwise;
  std::vector<std::int32_t> source;  //!< Rearrange: input element of every output element, both (h, w, c); -1: zero
  int readers = 0;
};

/// Calls body(tap, input position) for the positions of a window that lie inside the input; position = y * width + x.
template <class Body>
void for_window(const Window& window, const Shape& input, int oy, int ox, Body&& body) {
  for (int ky = 0; ky < window.kernel_h; ++ky) {
    const int y = oy * window.stride_h - window.pad_top + ky * window.dilation_h;
    if (y < 0 || y >= input.height) continue;
    for (int kx = 0; kx < window.kernel_w; ++kx) {
      const int x = ox * window.stride_w - window.pad_left + kx * window.dilation_w;
      if (x >= 0 && x < input.width) body(ky * window.kernel_w + kx, std::size_t(y) * input.width + x);
    }
  }
}

/// Positions of a window inside the padded input; what only ceil_mode reaches does not count.
int count_padded(const Window& window, const Shape& input, int oy, int ox) {
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

/// Computes one operation for one image, all tensors (h, w, c), without the clamp behind it. Convolutions are done
/// for several images at once elsewhere.
struct Evaluate {
  const Network& network;
  const Layer& layer;
  const FloatLayerPlan& plan;
  std::span<const float* const> inputs;
  float* output;

  const Shape& from(int input = 0) const { return network.layers[layer.inputs[input]].output; }
  const Shape& to() const { return layer.output; }

  /// Calls body(y, x, channels of the output position).
  template <class Body>
  void for_positions(Body&& body) const {
    float* channels = output;
    for (int y = 0; y < to().height; ++y) {
      for (int x = 0; x < to().width; ++x, channels += to().channels) body(y, x, channels);
    }
  }

  void operator()(const Input&) const {}

  void operator()(const Convolution& convolution) const {
    const int channels = to().channels;
    for_positions([&](int y, int x, float* sums) {
      std::copy(convolution.bias.begin(), convolution.bias.end(), sums);
      for_window(convolution.window, from(), y, x, [&](int tap, std::size_t position) {
        const float* __restrict values = inputs[0] + position * channels;
        const float* __restrict weights = plan.depthwise->values.data() + std::size_t(tap) * channels;
        float* __restrict to = sums;
        for (int c = 0; c < channels; ++c) to[c] += weights[c] * values[c];
      });
    });
  }

  void operator()(const Pool& pool) const {
    const int channels = to().channels;
    const bool is_max = pool.kind == Pool::Kind::max;
    for_positions([&](int y, int x, float* results) {
      std::fill_n(results, channels, is_max ? -std::numeric_limits<float>::infinity() : 0.0f);
      int inside = 0;
      for_window(pool.window, from(), y, x, [&](int, std::size_t position) {
        const float* __restrict values = inputs[0] + position * channels;
        float* __restrict to = results;
        if (is_max) {
          for (int c = 0; c < channels; ++c) to[c] = values[c] > to[c] ? values[c] : to[c];
        } else {
          for (int c = 0; c < channels; ++c) to[c] += values[c];
        }
        ++inside;
      });
      if (is_max) return;
      const float count = float(pool.count_padding ? count_padded(pool.window, from(), y, x) : inside);
      for (int c = 0; c < channels; ++c) results[c] /= count;
    });
  }

  void operator()(const Add&) const {
    for (std::size_t i = 0; i < to().size(); ++i) output[i] = inputs[0][i] + inputs[1][i];
  }

  void operator()(const Multiply&) const {
    if (from(0) == from(1)) {
      for (std::size_t i = 0; i < to().size(); ++i) output[i] = inputs[0][i] * inputs[1][i];
      return;
    }
    const float* values = inputs[0];
    for_positions([&](int, int, float* results) {
      for (int c = 0; c < to().channels; ++c) results[c] = values[c] * inputs[1][c];
      values += to().channels;
    });
  }

  void operator()(const Concat&) const {
    int first = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const int channels = from(int(i)).channels;
      const float* values = inputs[i];
      for_positions([&](int, int, float* results) {
        std::copy_n(values, channels, results + first);
        values += channels;
      });
      first += channels;
    }
  }

  void operator()(const Rearrange&) const {
    for (std::size_t i = 0; i < plan.source.size(); ++i) {
      output[i] = plan.source[i] < 0 ? 0 : inputs[0][plan.source[i]];
    }
  }

  void operator()(const Function& function) const {
    for (std::size_t i = 0; i < to().size(); ++i) output[i] = apply(function, inputs[0][i]);
  }

  void operator()(const LocalResponseNorm& norm) const {
    const int channels = to().channels, before = (norm.size - 1) / 2, after = norm.size - 1 - before;
    const float* values = inputs[0];
    for_positions([&](int, int, float* results) {
      for (int c = 0; c < channels; ++c) {
        float squares = 0;
        for (int k = std::max(0, c - before); k <= std::min(channels - 1, c + after); ++k) {
          squares += values[k] * values[k];
        }
        const float base = norm.bias + norm.alpha / float(norm.size) * squares;
        // pow() is slow and 0.75 is what networks use
        const float divisor =
            norm.beta == 0.75f ? std::sqrt(base) * std::sqrt(std::sqrt(base)) : std::pow(base, norm.beta);
        results[c] = values[c] / divisor;
      }
      values += channels;
    });
  }
};

/// Prepares one layer.
struct Prepare {
  const Network& network;
  const Layer& layer;
  FloatLayerPlan& plan;

  const Shape& from() const { return network.layers[layer.inputs[0]].output; }

  void operator()(const OneOf<Input, Pool, Add, Multiply, Concat, Function, LocalResponseNorm> auto&) const {}

  void operator()(const Convolution& convolution) const {
    if (convolution.groups == 1 || convolution.groups != from().channels || convolution.filters != convolution.groups) {
      plan.convolution.emplace(best_kernels(), convolution, from(), layer.output);
      return;
    }
    const std::size_t channels = from().channels, taps = convolution.weights.size() / channels;
    std::vector<float>& values = plan.depthwise.emplace().values;
    values.resize(convolution.weights.size());
    for (std::size_t i = 0; i < values.size(); ++i) values[i % taps * channels + i / taps] = convolution.weights[i];
  }

  void operator()(const Rearrange& rearrange) const {
    const auto to_channels_last = [](const Shape& shape, std::int32_t element) {
      const int plane = shape.height * shape.width;
      return element % plane * shape.channels + element / plane;
    };
    plan.source.resize(rearrange.source.size());
    for (std::size_t i = 0; i < rearrange.source.size(); ++i) {
      const std::int32_t source = rearrange.source[i];
      plan.source[to_channels_last(layer.output, std::int32_t(i))] = source < 0 ? -1 : to_channels_last(from(), source);
    }
  }
};

std::vector<FloatLayerPlan> prepare(const Network& network) {
  std::vector<FloatLayerPlan> plans(network.layers.size());
  parallel_for(long(plans.size()), [&](long index, int) {
    const Layer& layer = network.layers[index];
    std::visit(Prepare{network, layer, plans[index]}, layer.operation);
  });
  for (const Layer& layer : network.layers) {
    for (const int input : layer.inputs) ++plans[input].readers;
  }
  return plans;
}

struct FloatWorkspace {
  BufferPool pool;
  Buffer scratch;
};

}  // namespace

struct FloatNetwork::State {
  const Network& network;
  std::vector<FloatLayerPlan> plans;
};

FloatNetwork::FloatNetwork(const Network& network)
    : state_(std::make_unique<const State>(State{network, prepare(network)})) {}

FloatNetwork::~FloatNetwork() = default;

std::vector<float> FloatNetwork::run(std::span<const float> images, int count,
                                     const ActivationObserver& observer) const {
  const auto& [network, plans] = *state_;
  const std::size_t image_size = network.input().size(), classes = network.classes();
  if (count < 0 || images.size() != count * image_size) {
    throw Error(fmt::format("cannot run network '{}' on {} images", network.name, count),
                fmt::format("{} values do not have that size", images.size()), "give (count, h, w, c)");
  }
  std::vector<FloatWorkspace> workspaces(thread_count());
  std::vector<float> logits(count * classes);
  const int layers = int(network.layers.size());
  const int per_thread = (count + thread_count() - 1) / thread_count();
  const int at_once = observer ? 1 : std::clamp(per_thread, 1, chunk);  // an observer sees one image after the other
  parallel_for((count + at_once - 1) / at_once, [&, &network = network, &plans = plans](long index, int thread) {
    FloatWorkspace& workspace = workspaces[thread];
    const int first = int(index) * at_once, here = std::min(at_once, count - first);
    std::vector<Buffer> tensors(layers);
    std::vector<int> readers(layers);
    for (int l = 0; l < layers; ++l) {
      const Layer& layer = network.layers[l];
      const FloatLayerPlan& plan = plans[l];
      const std::size_t size = layer.output.size();
      tensors[l] = workspace.pool.take(here * size * sizeof(float));
      float* const output = tensors[l].as<float>();
      readers[l] = plan.readers;
      if (l == 0) std::copy_n(images.data() + first * image_size, here * size, output);
      const OutputRange range{layer.low, layer.high};
      if (plan.convolution) {
        plan.convolution->run(tensors[layer.inputs[0]].as<float>(), here, {output, range}, workspace.scratch);
      } else {
        for (int image = 0; image < here; ++image) {
          std::vector<const float*> inputs;
          for (const int input : layer.inputs) {
            inputs.push_back(tensors[input].as<float>() + image * network.layers[input].output.size());
          }
          std::visit(Evaluate{network, layer, plan, inputs, output + image * size}, layer.operation);
        }
        for (std::size_t i = 0; i < here * size; ++i) output[i] = clamp_to(output[i], range);
      }
      if (observer) observer(first, l, {output, size});
      for (const int input : layer.inputs) {
        if (--readers[input] == 0) workspace.pool.give(std::exchange(tensors[input], {}));
      }
    }
    const Shape& shape = network.layers.back().output;
    const float* from = tensors.back().as<float>();
    const std::size_t plane = std::size_t(shape.height) * shape.width;
    for (int image = first; image < first + here; ++image) {
      for (std::size_t position = 0; position < plane; ++position) {
        for (int c = 0; c < shape.channels; ++c) logits[image * classes + c * plane + position] = *from++;
      }
    }
    workspace.pool.give(std::move(tensors.back()));
  });
  return logits;
}

std::vector<float> run_float(const Network& network, std::span<const float> images, int count) {
  return FloatNetwork(network).run(images, count);
}

}  // namespace bitcluster
