#include "host/inference/integer_network.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <utility>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

/// A bias takes at most 2^30 of the int32 sum, the products the rest.
constexpr double largest_bias = 1 << 30;

const Convolution& convolution_of(const IntegerNetwork& network, int layer) {
  const Convolution* convolution = layer > 0 && layer < int(network.network.layers.size())
                                       ? std::get_if<Convolution>(&network.network.layers[layer].operation)
                                       : nullptr;
  if (!convolution) {
    throw Error(fmt::format("layer {} cannot be quantized", layer), "it is no layer with weights",
                "use an index that weighted_layers() gives");
  }
  return *convolution;
}

void check_overflow(const IntegerNetwork& network, int layer, const QuantizedWeights& weights) {
  const Layer& description = network.network.layers[layer];
  const Requantization requantized = requantization(network, layer, weights);
  const std::int64_t highest = network.formats[description.inputs[0]].highest();
  const std::size_t filters = requantized.bias.size(), size = weights.values.size() / filters;
  for (std::size_t filter = 0; filter < filters; ++filter) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < size; ++i) sum += std::abs(weights.values[filter * size + i]);
    const std::int64_t reach = sum * highest + std::abs(std::int64_t(requantized.bias[filter]));
    if (reach > INT32_MAX) {
      throw Error(fmt::format("layer '{}', filter {} can overflow int32", description.name, filter),
                  fmt::format("its sum can reach {} with {}-bit weights", reach, weights.format.bits),
                  "use fewer bits for this layer's weights");
    }
  }
}

}  // namespace

IntegerNetwork make_integer(Network network, const Calibration& calibration, const WeightFormat& reference,
                            const InputTable& input, const Quantizer& quantizer) {
  const std::size_t layers = network.layers.size();
  if (calibration.formats.size() != layers) {
    throw Error("cannot make network '" + network.name + "' integer",
                fmt::format("the calibration has {} tensors, the network {}", calibration.formats.size(), layers),
                "calibrate this network");
  }
  if (input.size() != std::size_t(network.input().channels) * 256) {
    throw Error("the preprocessing does not fit network '" + network.name + "'",
                fmt::format("its table has {} entries, the input has {} channels of 256", input.size(),
                            network.input().channels),
                "give mean and std for every channel of the network");
  }
  double largest = 0;
  for (const float value : input) {
    if (!std::isfinite(value)) {
      throw Error("the preprocessing does not fit network '" + network.name + "'", "it gives infinity or not a number",
                  "check scale, mean and std");
    }
    largest = std::max(largest, double(std::abs(value)));
  }

  IntegerNetwork result{std::move(network), calibration.formats, std::vector<QuantizedWeights>(layers), {}};
  // every byte fits: images that judge accuracy may go beyond those of calibration
  ActivationFormat& format = result.formats[0];
  format = {largest > 0 ? float(largest / 127) : 1.0f, true};
  copy_kept_formats(network, result.formats);
  for (const float value : input) {
    result.input_table.push_back(std::int8_t(std::clamp(std::rint(double(value) / format.scale), -127.0, 127.0)));
  }
  for (const int layer : weighted_layers(result.network))
    result.weights[layer] = quantize_layer(result, layer, reference, quantizer);
  return result;
}

QuantizedWeights quantize_layer(const IntegerNetwork& network, int layer, const WeightFormat& format,
                                const Quantizer& quantizer) {
  const Convolution& convolution = convolution_of(network, layer);
  const double input_scale = network.formats[network.network.layers[layer].inputs[0]].scale;
  std::vector<float> minimum_scales;
  for (const float bias : convolution.bias) {
    minimum_scales.push_back(float(std::abs(double(bias)) / (input_scale * largest_bias)));
  }
  QuantizedWeights weights;
  try {
    weights = quantizer(convolution.weights, convolution.filters, format, minimum_scales);
  } catch (const Error& error) {
    throw Error("layer '" + network.network.layers[layer].name + "'", error.what(), "every layer must be quantizable");
  }
  check_overflow(network, layer, weights);
  return weights;
}

MeanTerms mean_terms(const Network& network, std::span<const QuantizedWeights* const> weights) {
  double terms = 0, count = 0, used_terms = 0, products = 0;
  const std::vector<int> layers = weighted_layers(network);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const double mean = mean_terms(*weights[i]), size = double(weights[i]->values.size()),
                 used = double(multiply_accumulates(network, layers[i]));
    terms += mean * size;
    count += size;
    used_terms += mean * used;
    products += used;
  }
  return {terms / count, used_terms / products};
}

Requantization requantization(const IntegerNetwork& network, int layer, const QuantizedWeights& weights) {
  const Convolution& convolution = convolution_of(network, layer);
  const Layer& description = network.network.layers[layer];
  const double input_scale = network.formats[description.inputs[0]].scale;
  const bool last = layer + 1 == int(network.network.layers.size());
  const double output_scale = last ? 1.0 : double(network.formats[layer].scale);
  if (weights.scales.size() != std::size_t(convolution.filters) ||
      weights.values.size() != convolution.weights.size() || convolution.bias.size() != weights.scales.size() ||
      (!weights.bias_change.empty() && weights.bias_change.size() != weights.scales.size())) {
    throw Error(
        "layer '" + description.name + "' cannot use these weights",
        fmt::format("{} values and {} scales do not have its shape", weights.values.size(), weights.scales.size()),
        "quantize this layer's own weights");
  }
  Requantization result;
  for (int filter = 0; filter < convolution.filters; ++filter) {
    const double scale = input_scale * double(weights.scales[filter]);
    double change = 0;
    if (!weights.bias_change.empty()) change = input_scale * double(weights.bias_change[filter]);
    const double bias = std::rint((double(convolution.bias[filter]) + change) / scale);
    if (!(std::abs(bias) <= INT32_MAX)) {
      throw Error(fmt::format("layer '{}', filter {} can overflow int32", description.name, filter),
                  fmt::format("its bias alone is {:f} steps", bias), "quantize it with quantize_layer()");
    }
    result.bias.push_back(std::int32_t(bias));
    result.multiplier.push_back(float(scale / output_scale));
  }
  return result;
}

}  // namespace bitcluster
