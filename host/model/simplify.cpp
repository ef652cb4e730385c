#include "host/model/simplify.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

namespace bitcluster {
namespace {

bool unclamped(const Layer& layer) { return std::isinf(layer.low) && std::isinf(layer.high) && layer.low < layer.high; }

/// Which layers `output` depends on, itself included.
std::vector<bool> needed_layers(const std::vector<Layer>& layers, int output) {
  std::vector<bool> needed(layers.size());
  needed[output] = true;
  for (int i = output; i >= 0; --i) {
    if (!needed[i]) continue;
    for (const int input : layers[i].inputs) needed[input] = true;
  }
  return needed;
}

struct SpatialPad {
  int top, left, bottom, right;
};

/// The padding that a Rearrange is, if it is one.
std::optional<SpatialPad> as_spatial_pad(const Rearrange& rearrange, const Shape& from, const Shape& to) {
  if (to.channels != from.channels || to.height < from.height || to.width < from.width) return std::nullopt;
  const auto first = std::find(rearrange.source.begin(), rearrange.source.end(), 0) - rearrange.source.begin();
  if (first >= to.height * to.width) return std::nullopt;
  const int top = int(first) / to.width, left = int(first) % to.width;
  std::size_t i = 0;
  for (int c = 0; c < to.channels; ++c) {
    for (int y = -top; y < to.height - top; ++y) {
      for (int x = -left; x < to.width - left; ++x) {
        const bool inside = y >= 0 && y < from.height && x >= 0 && x < from.width;
        if (rearrange.source[i++] != (inside ? (c * from.height + y) * from.width + x : -1)) return std::nullopt;
      }
    }
  }
  const SpatialPad pad{top, left, to.height - top - from.height, to.width - left - from.width};
  if (pad.bottom < 0 || pad.right < 0) return std::nullopt;
  return pad;
}

/// Applies scale and shift of every filter to a convolution.
void fold_affine(Convolution& convolution, const Convolution& affine) {
  const std::size_t filter_size = convolution.weights.size() / std::size_t(convolution.filters);
  for (int f = 0; f < convolution.filters; ++f) {
    const double scale = affine.weights[f];
    for (std::size_t i = f * filter_size; i < (f + 1) * filter_size; ++i) {
      convolution.weights[i] = float(convolution.weights[i] * scale);
    }
    convolution.bias[f] = float(convolution.bias[f] * scale + affine.bias[f]);
  }
}

/// The layer of which `layer` is the hard_swish, or -1.
int hard_swish_input(const std::vector<Layer>& layers, const Layer& layer,
                     const std::vector<std::vector<int>>& consumers) {
  for (int side = 0; side < 2; ++side) {
    const int gate = layer.inputs[side], value = layer.inputs[1 - side];
    const auto* function = std::get_if<Function>(&layers[gate].operation);
    if (function && function->kind == Function::Kind::hard_sigmoid && function->beta == 0.5f &&
        std::abs(function->alpha - 1.0f / 6) < 1e-6f && layers[gate].inputs[0] == value && unclamped(layers[gate]) &&
        consumers[gate].size() == 1) {
      return value;
    }
  }
  return -1;
}

}  // namespace

Network simplify(Network network, int output, const std::vector<bool>& affine) {
  std::vector<Layer>& layers = network.layers;
  std::vector<bool> needed = needed_layers(layers, output);
  constexpr int outside = -1;  // reads the logits
  std::vector<std::vector<int>> consumers(layers.size());
  for (int i = 0; i <= output; ++i) {
    if (!needed[i]) continue;
    for (const int input : layers[i].inputs) consumers[input].push_back(i);
  }
  consumers[output].push_back(outside);

  std::vector<int> replaced(layers.size());  // the layer that now gives the result of this one
  std::iota(replaced.begin(), replaced.end(), 0);
  const auto replace = [&](int layer, int producer) {
    replaced[layer] = producer;
    auto& readers = consumers[producer];
    readers.erase(std::find(readers.begin(), readers.end(), layer));
    readers.insert(readers.end(), consumers[layer].begin(), consumers[layer].end());
  };
  for (int i = 1; i <= output; ++i) {
    if (!needed[i]) continue;
    Layer& layer = layers[i];
    for (int& input : layer.inputs) input = replaced[input];
    const int p = layer.inputs[0];
    Layer& producer = layers[p];
    const bool only_consumer = consumers[p].size() == 1;

    if (auto* convolution = std::get_if<Convolution>(&layer.operation)) {
      auto* before = std::get_if<Convolution>(&producer.operation);
      if (affine[i] && before && only_consumer && unclamped(producer)) {
        fold_affine(*before, *convolution);
        replace(i, p);
        continue;
      }
      const auto* rearrange = std::get_if<Rearrange>(&producer.operation);
      const bool can_pad =
          rearrange && unclamped(producer) && std::all_of(consumers[p].begin(), consumers[p].end(), [&](int reader) {
            const auto* other = reader == outside ? nullptr : std::get_if<Convolution>(&layers[reader].operation);
            return other && !other->fully_connected;
          });
      if (!can_pad) continue;
      if (const auto pad = as_spatial_pad(*rearrange, layers[producer.inputs[0]].output, producer.output)) {
        convolution->window.pad_top += pad->top;
        convolution->window.pad_left += pad->left;
        convolution->window.pad_bottom += pad->bottom;
        convolution->window.pad_right += pad->right;
        layer.inputs[0] = producer.inputs[0];
      }
    } else if (const auto* function = std::get_if<Function>(&layer.operation)) {
      if (function->kind != Function::Kind::identity) continue;
      if (unclamped(layer)) {
        replace(i, p);
      } else if (only_consumer && !std::holds_alternative<Input>(producer.operation)) {
        producer.low = std::clamp(producer.low, layer.low, layer.high);
        producer.high = std::clamp(producer.high, layer.low, layer.high);
        replace(i, p);
      }
    } else if (std::holds_alternative<Multiply>(layer.operation)) {
      const int input = hard_swish_input(layers, layer, consumers);
      if (input < 0) continue;
      layer.operation = Function{Function::Kind::hard_swish};
      layer.inputs = {input};
    }
  }

  output = replaced[output];
  needed = needed_layers(layers, output);
  needed[0] = true;
  Network result{network.name, {}};
  std::vector<int> position(layers.size());
  for (int i = 0; i <= output; ++i) {
    if (!needed[i]) continue;
    for (int& input : layers[i].inputs) input = position[input];
    position[i] = int(result.layers.size());
    result.layers.push_back(std::move(layers[i]));
  }
  return result;
}

}  // namespace bitcluster
