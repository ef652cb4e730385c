#include "host/cpu/calibrate.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <variant>

#include "host/base/error.hpp"
#include "host/base/overloaded.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/float_network.hpp"
#include "host/model/function.hpp"

namespace bitcluster {
namespace {

/// Bins of the histogram of |x| over [0, max|x|]: 32 per step of an unclipped 8-bit scale, so that the error of a scale
/// that clips at 1/16 of the maximum is still resolved.
constexpr int bins = 8192;

/// Candidates for the clip value of least squared error: max|x| times 2^(-k / clip_steps_per_octave), k in [0,
/// clip_steps], so down to 1/16.
constexpr int clip_steps_per_octave = 32;
constexpr int clip_steps = 128;

template <class Kind>
bool is(const Layer& layer) {
  return std::holds_alternative<Kind>(layer.operation);
}

/// Whether an operation gives nothing negative, if its inputs are `non_negative`.
struct GivesNonNegative {
  bool non_negative;

  bool operator()(const OneOf<Input, Convolution> auto&) const { return false; }
  bool operator()(const OneOf<Pool, Add, Multiply, Concat, Rearrange, LocalResponseNorm> auto&) const {
    return non_negative;
  }
  bool operator()(const Function& function) const { return gives_non_negative(function, non_negative); }
};

/// Which layers cannot have a negative output, whatever the image.
std::vector<bool> find_non_negative(const Network& network) {
  std::vector<bool> non_negative(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    const bool inputs =
        std::all_of(layer.inputs.begin(), layer.inputs.end(), [&](int input) { return bool(non_negative[input]); });
    non_negative[i] = layer.low >= 0 || std::visit(GivesNonNegative{inputs}, layer.operation);
  }
  return non_negative;
}

/// Where a concatenation is the only one that sees a tensor, the tensor's producer rounds to the concatenation's format
/// at once, instead of twice.
void adopt_concat_formats(const Network& network, std::vector<ActivationFormat>& formats) {
  std::vector<int> consumers(network.layers.size());
  for (const Layer& layer : network.layers) {
    for (const int input : layer.inputs) ++consumers[input];
  }
  for (std::size_t i = network.layers.size(); i-- > 0;) {
    if (!is<Concat>(network.layers[i])) continue;
    for (int producer : network.layers[i].inputs) {
      bool alone = consumers[producer] == 1;
      while (alone && keeps_format(network.layers[producer])) {
        producer = network.layers[producer].inputs[0];
        alone = consumers[producer] == 1;
      }
      if (alone && !is<Input>(network.layers[producer]) && formats[producer].is_signed == formats[i].is_signed) {
        formats[producer] = formats[i];
      }
    }
  }
}

/// Whether the integers of the model's own quantizer are integers of `format`: 8 bits around 0. What sign-magnitude
/// lacks is -128.
bool fits(const Layer& layer, const ActivationFormat& format) {
  const float lowest = format.is_signed ? -128 : 0, highest = float(format.highest());
  return layer.step > 0 && layer.low >= layer.step * (lowest - 0.5f) && layer.high <= layer.step * (highest + 0.5f);
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
        throw Error("cannot calibrate layer '" + network.layers[layer].name + "'",
                    fmt::format("its output is infinite or not a number for calibration image {}", first_image + image),
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

}  // namespace

Calibration calibrate(const Network& network, std::span<const float> images, int count, CalibrationMethod method,
                      double percentile, const CalibrationShare* share) {
  if (count < (share ? 0 : 1) || images.size() != std::size_t(count) * network.input().size()) {
    throw Error(fmt::format("cannot calibrate on {} images", count),
                count <= 0 ? "there are none" : "their size is not that of the network's input",
                "give at least one image of the network's input shape");
  }
  if (method == CalibrationMethod::percentile && !(percentile > 0 && percentile <= 100)) {
    throw Error(fmt::format("cannot calibrate at percentile {:f}", percentile), "it must lie in (0, 100]",
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
    format.is_signed = is<Input>(layer) || !non_negative[i];
    double clip = largest[i];
    if (clip > 0 && !is<Input>(layer) && !keeps_format(layer)) {
      if (method == CalibrationMethod::percentile) clip = percentile_clip(histograms[i], percentile);
      if (method == CalibrationMethod::least_squares || method == CalibrationMethod::model) {
        clip = least_squares_clip(histograms[i], format.highest());
      }
    }
    format.scale = clip > 0 ? std::max(float(clip / format.highest()), std::numeric_limits<float>::min()) : 1.0f;
    if (method == CalibrationMethod::model && fits(layer, format)) format.scale = layer.step;
  });
  copy_kept_formats(network, calibration.formats);
  adopt_concat_formats(network, calibration.formats);
  copy_kept_formats(network, calibration.formats);
  if (method == CalibrationMethod::model && own_scales(network, calibration).own.empty()) {
    throw Error(fmt::format("network '{}' has no activation scales of its own", network.name),
                "no QuantizeLinear in it gives integers of 8 bits around 0", "choose another calibration method");
  }
  return calibration;
}

OwnScales own_scales(const Network& network, const Calibration& calibration) {
  OwnScales scales;
  for (int i = 1; i + 1 < int(network.layers.size()); ++i) {
    const Layer& layer = network.layers[i];
    if (keeps_format(layer)) continue;
    const bool own = fits(layer, calibration.formats[i]) && calibration.formats[i].scale == layer.step;
    (own ? scales.own : scales.others).push_back(i);
  }
  return scales;
}

}  // namespace bitcluster
