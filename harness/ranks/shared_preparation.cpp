#include "harness/ranks/shared_preparation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string_view>

namespace bitcluster {

Calibration calibrate(const Ranks& ranks, const Network& network, const Images& images,
                      const std::vector<float>& input_table, CalibrationMethod method, double percentile) {
  const int first = int(ranks.first_of(images.count, ranks.rank()));
  const int count = int(ranks.first_of(images.count, ranks.rank() + 1)) - first;
  const CalibrationShare share{first, [&](std::span<double> values) { ranks.largest(values); },
                               [&](std::span<std::int64_t> counts) { ranks.sum(counts); }};
  Calibration calibration = calibrate(network, preprocess(images, input_table, first, count), count, method, percentile,
                                      ranks.size() > 1 ? &share : nullptr);
  if (method == CalibrationMethod::model && ranks.root()) {
    const OwnScales scales = own_scales(network, calibration);
    std::vector<std::string_view> others;
    for (const int layer : scales.others) others.push_back(network.layers[layer].name);
    fmt::print(stderr, "bitcluster: {}: {} of {} activation scales are the model's own{}{}\n", network.name,
               scales.own.size(), scales.own.size() + others.size(),
               others.empty() ? "" : "; these are of least squares: ", fmt::join(others, ", "));
  }
  return calibration;
}

Quantizer shared_quantizer(const Ranks& ranks, Quantizer quantizer) {
  return [&ranks, quantizer](std::span<const float> weights, int filters, const WeightFormat& format,
                             std::span<const float> minimum_scales) {
    // MPI counts bytes in an int
    const bool sendable = weights.size() * sizeof(std::int16_t) <= std::size_t(std::numeric_limits<int>::max());
    if (ranks.size() == 1 || !format.per_channel || weights.size() < fewest_shared_weights || !sendable) {
      return quantizer(weights, filters, format, minimum_scales);
    }
    const std::size_t length = weights.size() / filters;
    std::vector<int> starts, value_starts, scale_starts;  // of every rank: filters, bytes
    for (int rank = 0; rank <= ranks.size(); ++rank) {
      starts.push_back(int(ranks.first_of(filters, rank)));
      value_starts.push_back(int(starts.back() * length * sizeof(std::int16_t)));
      scale_starts.push_back(int(starts.back() * sizeof(float)));
    }
    QuantizedWeights whole{format, std::vector<std::int16_t>(weights.size()), std::vector<float>(filters)};
    const int first = starts[ranks.rank()], count = starts[ranks.rank() + 1] - first;
    if (count > 0) {
      const QuantizedWeights part =
          quantizer(weights.subspan(first * length, count * length), count, format,
                    minimum_scales.empty() ? minimum_scales : minimum_scales.subspan(first, count));
      std::copy(part.values.begin(), part.values.end(), whole.values.begin() + first * length);
      std::copy(part.scales.begin(), part.scales.end(), whole.scales.begin() + first);
    }
    ranks.join(std::as_writable_bytes(std::span(whole.values)), value_starts);
    ranks.join(std::as_writable_bytes(std::span(whole.scales)), scale_starts);
    return whole;
  };
}

}  // namespace bitcluster
