#include "host/inference/integer_network.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/float_network.hpp"

namespace bitcluster {
namespace {

/// Bins of the histogram of |x| over [0, max|x|]: 32 per step of an unclipped 8-bit scale, so that the error of a scale
/// that clips at 1/16 of the maximum is still resolved.
constexpr int bins = 8192;

/// Candidates for the clip value of least squared error: max|x| times 2^(-k / clip_steps_per_octave), k in [0,
/// clip_steps], so down to 1/16.
constexpr int clip_steps_per_octave = 32;
constexpr int clip_steps = 128;

/// A bias takes at most 2^30 of the int32 sum, the products the rest.
constexpr double largest_bias = 1 << 30;

template <class Kind>
const Kind* as(const Layer& layer) {
  return std::get_if<Kind>(&layer.operation);
}

/// Layers that only select or move values: their output has the format of their input, integers are copied.
bool keeps_format(const Layer& layer) {
  const auto* pool = as<Pool>(layer);
  const auto* function = as<Function>(layer);
  return as<Rearrange>(layer) || (pool && pool->kind == Pool::Kind::max) ||
         (function && function->kind == Function::Kind::identity);
}

/// Which layers cannot have a negative output, whatever the image.
std::vector<bool> find_non_negative(const Network& network) {
  std::vector<bool> non_negative(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    const auto* function = as<Function>(layer);
    if (layer.low >= 0 ||
        (function && (function->kind == Function::Kind::sigmoid || function->kind == Function::Kind::hard_sigmoid))) {
      non_negative[i] = true;
    } else if (!as<Input>(layer) && !as<Convolution>(layer)) {
      non_negative[i] =
          std::all_of(layer.inputs.begin(), layer.inputs.end(), [&](int input) { return bool(non_negative[input]); });
      // leaky ReLU with a negative slope and hard swish keep the sign of a non-negative value as well
    }
  }
  return non_negative;
}

void copy_kept_formats(const Network& network, std::vector<ActivationFormat>& formats) {
  for (std::size_t i = 1; i < network.layers.size(); ++i) {
    if (keeps_format(network.layers[i])) formats[i] = formats[network.layers[i].inputs[0]];
  }
}

/// Where a concatenation is the only one that sees a tensor, the tensor's producer rounds to the concatenation's format
/// at once, instead of twice.
void adopt_concat_formats(const Network& network, std::vector<ActivationFormat>& formats) {
  std::vector<int> consumers(network.layers.size());
  for (const Layer& layer : network.layers) {
    for (const int input : layer.inputs) ++consumers[input];
  }
  for (std::size_t i = network.layers.size(); i-- > 0;) {
    if (!as<Concat>(network.layers[i])) continue;
    for (int producer : network.layers[i].inputs) {
      bool alone = consumers[producer] == 1;
      while (alone && keeps_format(network.layers[producer])) {
        producer = network.layers[producer].inputs[0];
        alone = consumers[producer] == 1;
      }
      if (alone && !as<Input>(network.layers[producer]) && formats[producer].is_signed == formats[i].is_signed) {
        formats[producer] = formats[i];
      }
    }
  }
}

/// Histogram of the absolute values of one layer's output.
struct Histogram {
  double largest = 0;
  std::int64_t zeros = 0;
  std::vector<std::int64_t> counts;  //!< (bins), without the zeros

  double center(int bin) const { return (bin + 0.5) * largest / bins; }
};

/// Smallest clip value, a bin's upper edge, that leaves `percentile` of the values unclipped.
double percentile_clip(const Histogram& histogram, double percentile) {
  std::int64_t total = histogram.zeros;
  for (const std::int64_t count : histogram.counts) total += count;
  std::int64_t inside = histogram.zeros;
  for (int bin = 0; bin < bins; ++bin) {
    inside += histogram.counts[bin];
    if (double(inside) >= percentile / 100 * double(total)) return (bin + 1) * histogram.largest / bins;
  }
  return histogram.largest;
}

/// Clip value of least squared error among the candidates.
double least_squares_clip(const Histogram& histogram, int highest) {
  double best_clip = histogram.largest, best_error = std::numeric_limits<double>::infinity();
  for (int step = 0; step <= clip_steps; ++step) {
    const double clip = histogram.largest * std::exp2(-double(step) / clip_steps_per_octave);
    const double scale = clip / highest;
    double error = 0;
    for (int bin = 0; bin < bins; ++bin) {
      if (histogram.counts[bin] == 0) continue;
      const double value = histogram.center(bin);
      const double difference = value - scale * std::min(std::rint(value / scale), double(highest));
      error += double(histogram.counts[bin]) * difference * difference;
    }
    if (error < best_error) {
      best_error = error;
      best_clip = clip;
    }
  }
  return best_clip;
}

/// Largest absolute output of every layer over all images.
std::vector<double> find_largest(const Network& network, const FloatNetwork& prepared, std::span<const float> images,
                                 int count, int first_image) {
  const std::size_t layers = network.layers.size();
  std::vector<double> largest(layers);
  std::mutex mutex;
  prepared.run(images, count, [&](int image, int layer, std::span<const float> values) {
    double found = 0;
    for (const float value : values) {
      if (!std::isfinite(value)) {
        throw Error(
            "cannot calibrate layer '" + network.layers[layer].name + "'",
            "its output is infinite or not a number for calibration image " + std::to_string(first_image + image),
            "check the preprocessing and the model");
      }
      found = std::max(found, double(std::abs(value)));
    }
    const std::lock_guard lock(mutex);
    largest[layer] = std::max(largest[layer], found);
  });
  return largest;
}

std::vector<Histogram> fill_histograms(const Network& network, const FloatNetwork& prepared,
                                       std::span<const float> images, int count, const std::vector<double>& largest) {
  std::vector<Histogram> histograms(network.layers.size());
  for (std::size_t i = 0; i < histograms.size(); ++i) histograms[i] = {largest[i], 0, std::vector<std::int64_t>(bins)};
  std::mutex mutex;
  prepared.run(images, count, [&](int, int layer, std::span<const float> values) {
    if (keeps_format(network.layers[layer])) return;
    std::vector<std::int32_t> counts(bins);
    std::int64_t zeros = 0;
    const double bins_per_unit = largest[layer] > 0 ? bins / largest[layer] : 0;
    for (const float value : values) {
      if (value == 0) {
        ++zeros;
      } else {
        ++counts[std::min(int(std::abs(double(value)) * bins_per_unit), bins - 1)];
      }
    }
    // integer counts: any order of the images gives the same sums
    const std::lock_guard lock(mutex);
    histograms[layer].zeros += zeros;
    for (int bin = 0; bin < bins; ++bin) histograms[layer].counts[bin] += counts[bin];
  });
  return histograms;
}

const Convolution& convolution_of(const IntegerNetwork& network, int layer) {
  const Convolution* convolution = layer > 0 && layer < int(network.network.layers.size())
                                       ? as<Convolution>(network.network.layers[layer])
                                       : nullptr;
  if (!convolution) {
    throw Error("layer " + std::to_string(layer) + " cannot be quantized", "it is no layer with weights",
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
      throw Error("layer '" + description.name + "', filter " + std::to_string(filter) + " can overflow int32",
                  "its sum can reach " + std::to_string(reach) + " with " + std::to_string(weights.format.bits) +
                      "-bit weights",
                  "use fewer bits for this layer's weights");
    }
  }
}

}  // namespace

Calibration calibrate(const Network& network, std::span<const float> images, int count, CalibrationMethod method,
                      double percentile, const CalibrationShare* share) {
  if (count < (share ? 0 : 1) || images.size() != std::size_t(count) * network.input().size()) {
    throw Error("cannot calibrate on " + std::to_string(count) + " images",
                count <= 0 ? "there are none" : "their size is not that of the network's input",
                "give at least one image of the network's input shape");
  }
  if (method == CalibrationMethod::percentile && !(percentile > 0 && percentile <= 100)) {
    throw Error("cannot calibrate at percentile " + std::to_string(percentile), "it must lie in (0, 100]",
                "choose for example 99.99");
  }
  const FloatNetwork prepared(network);
  std::vector<double> largest = find_largest(network, prepared, images, count, share ? share->first_image : 0);
  if (share) share->largest(largest);
  std::vector<Histogram> histograms;
  if (method != CalibrationMethod::maximum) histograms = fill_histograms(network, prepared, images, count, largest);
  for (Histogram& histogram : histograms) {
    if (!share) break;
    share->sum(std::span(&histogram.zeros, 1));
    share->sum(histogram.counts);
  }
  const std::vector<bool> non_negative = find_non_negative(network);

  Calibration calibration;
  calibration.formats.resize(network.layers.size());
  parallel_for(long(network.layers.size()), [&](long i, int) {
    const Layer& layer = network.layers[i];
    ActivationFormat& format = calibration.formats[i];
    format.is_signed = as<Input>(layer) || !non_negative[i];
    double clip = largest[i];
    if (clip > 0 && !as<Input>(layer) && !keeps_format(layer)) {
      if (method == CalibrationMethod::percentile) clip = percentile_clip(histograms[i], percentile);
      if (method == CalibrationMethod::least_squares) clip = least_squares_clip(histograms[i], format.highest());
    }
    format.scale = clip > 0 ? std::max(float(clip / format.highest()), std::numeric_limits<float>::min()) : 1.0f;
  });
  copy_kept_formats(network, calibration.formats);
  adopt_concat_formats(network, calibration.formats);
  copy_kept_formats(network, calibration.formats);
  return calibration;
}

IntegerNetwork make_integer(Network network, const Calibration& calibration, const WeightFormat& reference,
                            const InputTable& input, const Quantizer& quantizer) {
  const std::size_t layers = network.layers.size();
  if (calibration.formats.size() != layers) {
    throw Error("cannot make network '" + network.name + "' integer",
                "the calibration has " + std::to_string(calibration.formats.size()) + " tensors, the network " +
                    std::to_string(layers),
                "calibrate this network");
  }
  if (input.size() != std::size_t(network.input().channels) * 256) {
    throw Error("the preprocessing does not fit network '" + network.name + "'",
                "its table has " + std::to_string(input.size()) + " entries, the input has " +
                    std::to_string(network.input().channels) + " channels of 256",
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

Requantization requantization(const IntegerNetwork& network, int layer, const QuantizedWeights& weights) {
  const Convolution& convolution = convolution_of(network, layer);
  const Layer& description = network.network.layers[layer];
  const double input_scale = network.formats[description.inputs[0]].scale;
  const bool last = layer + 1 == int(network.network.layers.size());
  const double output_scale = last ? 1.0 : double(network.formats[layer].scale);
  if (weights.scales.size() != std::size_t(convolution.filters) ||
      weights.values.size() != convolution.weights.size() || convolution.bias.size() != weights.scales.size()) {
    throw Error("layer '" + description.name + "' cannot use these weights",
                std::to_string(weights.values.size()) + " values and " + std::to_string(weights.scales.size()) +
                    " scales do not have its shape",
                "quantize this layer's own weights");
  }
  Requantization result;
  for (int filter = 0; filter < convolution.filters; ++filter) {
    const double scale = input_scale * double(weights.scales[filter]);
    const double bias = std::rint(double(convolution.bias[filter]) / scale);
    if (!(std::abs(bias) <= INT32_MAX)) {
      throw Error("layer '" + description.name + "', filter " + std::to_string(filter) + " can overflow int32",
                  "its bias alone is " + std::to_string(bias) + " steps", "quantize it with quantize_layer()");
    }
    result.bias.push_back(std::int32_t(bias));
    result.multiplier.push_back(float(scale / output_scale));
  }
  return result;
}

}  // namespace bitcluster
