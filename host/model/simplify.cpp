#include "host/model/simplify.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <variant>

#include "host/base/overloaded.hpp"

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

/// Applies scale and shift of every channel to the convolution that reads them. Padding would have to hold what shifts
/// to 0, so it allows no shift.
bool fold_affine_behind(Convolution& convolution, const Convolution& affine) {
  const Window& w = convolution.window;
  const bool padded = std::max({w.pad_top, w.pad_left, w.pad_bottom, w.pad_right}) > 0;
  const bool shifts = std::any_of(affine.bias.begin(), affine.bias.end(), [](float shift) { return shift != 0; });
  if (padded && shifts) return false;
  const std::size_t taps = std::size_t(w.kernel_h) * w.kernel_w, filters = convolution.bias.size();
  const std::size_t filter_size = convolution.weights.size() / filters, inputs = filter_size / taps;
  for (std::size_t f = 0; f < filters; ++f) {
    const std::size_t group = f / (filters / std::size_t(convolution.groups));
    double bias = convolution.bias[f];
    for (std::size_t i = 0; i < filter_size; ++i) {
      float& weight = convolution.weights[f * filter_size + i];
      const std::size_t channel = group * inputs + i / taps;
      bias += double(weight) * affine.bias[channel];
      weight = float(double(weight) * affine.weights[channel]);
    }
    convolution.bias[f] = float(bias);
  }
  return true;
}

/// y = scale x + shift.
struct LinearMap {
  float scale, shift;
};

/// What a per-channel scale and shift is, if it is the same for all channels.
std::optional<LinearMap> same_for_all(const Convolution& affine) {
  for (std::size_t c = 1; c < affine.weights.size(); ++c) {
    if (affine.weights[c] != affine.weights[0] || affine.bias[c] != affine.bias[0]) return std::nullopt;
  }
  return LinearMap{affine.weights[0], affine.bias[0]};
}

/// Folds layers into their producers, from the input on.
class Simplifier {
 public:
  /// `affine`: see simplify().
  Simplifier(std::vector<Layer>& layers, int output, const std::vector<bool>& affine)
      : layers_(layers),
        output_(output),
        affine_(affine),
        needed_(needed_layers(layers, output)),
        consumers_(layers.size()),
        replaced_(layers.size()) {
    for (int i = 0; i <= output; ++i) {
      if (!needed_[i]) continue;
      for (const int input : layers[i].inputs) consumers_[input].push_back(i);
    }
    consumers_[output].push_back(outside);
    std::iota(replaced_.begin(), replaced_.end(), 0);
  }

  /// Returns the layer that gives the output afterwards.
  int run() {
    for (int i = 1; i <= output_; ++i) {
      if (!needed_[i] || replaced_[i] != i) continue;
      for (int& input : layers_[i].inputs) input = replaced_[input];
      std::visit([&](auto& operation) { simplify(i, operation); }, layers_[i].operation);
    }
    for (int i = 1; i <= output_; ++i) {
      if (const auto linear = as_linear(i)) {
        layers_[i].operation = Function{Function::Kind::linear, linear->scale, linear->shift};
      }
    }
    return replaced_[output_];
  }

 private:
  static constexpr int outside = -1;  //!< reads the logits

  void simplify(int, const OneOf<Input, Pool, Add, Concat, Rearrange, LocalResponseNorm> auto&) {}

  void simplify(int i, Convolution& convolution) {
    const int p = layers_[i].inputs[0];
    const Layer& producer = layers_[p];
    auto* before = std::get_if<Convolution>(&layers_[p].operation);
    if (affine_[i] && before && consumers_[p].size() == 1 && unclamped(producer)) {
      fold_affine(*before, convolution);
      replace(i, p);
      return;
    }
    auto* gelu = std::get_if<Function>(&layers_[p].operation);
    const auto linear = as_linear(i);
    if (linear && linear->shift == 0 && gelu && gelu->kind == Function::Kind::gelu && consumers_[p].size() == 1 &&
        unclamped(producer)) {
      gelu->alpha *= linear->scale;
      replace(i, p);
      return;
    }
    if (affine_[p] && before && read_once(p) && fold_affine_behind(convolution, *before)) {
      pass_by(i, p);
      return simplify(i, convolution);
    }
    if (!std::holds_alternative<Rearrange>(producer.operation)) return;
    const auto [found, is_new] = pads_.try_emplace(p);
    if (is_new) found->second = foldable_pad(p);
    if (const auto& pad = found->second) {
      convolution.window.pad_top += pad->top;
      convolution.window.pad_left += pad->left;
      convolution.window.pad_bottom += pad->bottom;
      convolution.window.pad_right += pad->right;
      layers_[i].inputs[0] = producer.inputs[0];
    }
  }

  void simplify(int i, const Function& function) {
    if (function.kind != Function::Kind::identity) return;
    const Layer& layer = layers_[i];
    const int p = layer.inputs[0];
    Layer& producer = layers_[p];
    if (unclamped(layer)) {
      replace(i, p);
    } else if (only_clamped_like(layer, p) && !std::holds_alternative<Input>(producer.operation)) {
      producer.low = std::clamp(producer.low, layer.low, layer.high);
      producer.high = std::clamp(producer.high, layer.low, layer.high);
      if (layer.step > 0) producer.step = layer.step;
      for (const int reader : std::vector<int>(consumers_[p])) replace(reader, p);
    }
  }

  void simplify(int i, const Multiply&) {
    for (int side = 0; side < 2; ++side) {
      const int gate = layers_[i].inputs[std::size_t(side)], value = layers_[i].inputs[std::size_t(1 - side)];
      if (is_hard_swish(gate, value)) {
        layers_[i].operation = Function{Function::Kind::hard_swish};
        layers_[i].inputs = {value};
        return;
      }
      if (const auto gelu = as_gelu(gate, value)) {
        layers_[i].operation = Function{Function::Kind::gelu, gelu->scale};
        layers_[i].inputs = {gelu->input};
        return;
      }
    }
  }

  /// Layer `reader` reads what its producer reads, and is read by nothing else.
  void pass_by(int reader, int producer) {
    const int source = layers_[producer].inputs[0];
    layers_[reader].inputs[0] = source;
    std::replace(consumers_[source].begin(), consumers_[source].end(), producer, reader);
    consumers_[producer].clear();
  }

  void replace(int layer, int producer) {
    replaced_[layer] = producer;
    auto& readers = consumers_[producer];
    readers.erase(std::find(readers.begin(), readers.end(), layer));
    readers.insert(readers.end(), consumers_[layer].begin(), consumers_[layer].end());
  }

  /// Whether the same clamp is all that reads a layer, once or, where every branch quantizes it for itself, repeatedly.
  bool only_clamped_like(const Layer& clamp, int layer) const {
    return std::all_of(consumers_[layer].begin(), consumers_[layer].end(), [&](int reader) {
      const auto* function = reader == outside ? nullptr : std::get_if<Function>(&layers_[reader].operation);
      return function && function->kind == Function::Kind::identity && layers_[reader].low == clamp.low &&
             layers_[reader].high == clamp.high && layers_[reader].step == clamp.step;
    });
  }

  /// The padding that a Rearrange is, if all that reads it can do it instead.
  std::optional<SpatialPad> foldable_pad(int layer) const {
    const Layer& pad = layers_[layer];
    if (!unclamped(pad) || !only_images_read(layer)) return std::nullopt;
    return as_spatial_pad(std::get<Rearrange>(pad.operation), layers_[pad.inputs[0]].output, pad.output);
  }

  /// Whether convolutions, none of them fully connected, are all that reads a layer.
  bool only_images_read(int layer) const {
    return std::all_of(consumers_[layer].begin(), consumers_[layer].end(), [&](int reader) {
      const auto* other = reader == outside ? nullptr : std::get_if<Convolution>(&layers_[reader].operation);
      return other && !other->fully_connected;
    });
  }

  /// The one scale and shift that a layer is, if it is one and can be read as one.
  std::optional<LinearMap> as_linear(int layer) const {
    const auto* affine = std::get_if<Convolution>(&layers_[layer].operation);
    return affine && affine_[layer] ? same_for_all(*affine) : std::nullopt;
  }

  bool read_once(int layer) const { return consumers_[layer].size() == 1 && unclamped(layers_[layer]); }

  /// Whether value x gate is hard_swish(value).
  bool is_hard_swish(int gate, int value) const {
    const auto* function = std::get_if<Function>(&layers_[gate].operation);
    return function && function->kind == Function::Kind::hard_sigmoid && function->beta == 0.5f &&
           std::abs(function->alpha - 1.0f / 6) < 1e-6f && layers_[gate].inputs[0] == value && read_once(gate);
  }

  /// scale x (1 + erf(x / sqrt(2))) of the layer `input`.
  struct Gelu {
    int input;
    float scale;
  };

  /// That of which value x gate is one, as exporters write it: one of both factors may hold the 1 / 2.
  std::optional<Gelu> as_gelu(int gate, int value) const {
    const auto outer = as_linear(gate);
    if (!outer || outer->scale != outer->shift || !read_once(gate)) return std::nullopt;
    const int erf = layers_[gate].inputs[0];
    const auto* function = std::get_if<Function>(&layers_[erf].operation);
    if (!function || function->kind != Function::Kind::erf || !read_once(erf)) return std::nullopt;
    const int inner = layers_[erf].inputs[0];
    const auto argument = as_linear(inner);
    if (!argument || argument->shift != 0 || std::abs(argument->scale - 0.70710678f) > 1e-6f || !read_once(inner)) {
      return std::nullopt;
    }
    const int input = layers_[inner].inputs[0];
    if (value == input) return Gelu{input, outer->scale};
    const auto factor = as_linear(value);
    if (!factor || factor->shift != 0 || !read_once(value) || layers_[value].inputs[0] != input) return std::nullopt;
    return Gelu{input, outer->scale * factor->scale};
  }

  std::vector<Layer>& layers_;
  int output_;
  const std::vector<bool>& affine_;
  std::vector<bool> needed_;
  std::vector<std::vector<int>> consumers_;
  std::map<int, std::optional<SpatialPad>> pads_;  //!< of Rearranges that a convolution reads
  std::vector<int> replaced_;                      //!< the layer that now gives the result of this one
};

}  // namespace

Network simplify(Network network, int output, const std::vector<bool>& affine) {
  std::vector<Layer>& layers = network.layers;
  output = Simplifier(layers, output, affine).run();
  std::vector<bool> needed = needed_layers(layers, output);
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
