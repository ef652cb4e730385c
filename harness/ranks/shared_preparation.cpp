#include "harness/ranks/shared_preparation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string_view>
#include <utility>

#include "host/cpu/compensate.hpp"
#include "host/cpu/observe_grams.hpp"

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

namespace {

/// Weights of which every rank makes some filters, put together on all ranks. Below 2 GiB: MPI counts bytes in an int.
QuantizedWeights join_filters(const Ranks& ranks, const WeightFormat& format, int filters, std::size_t length,
                              const std::function<QuantizedWeights(int first, int count)>& make) {
  std::vector<int> starts, value_starts, scale_starts;  // of every rank: filters, bytes
  for (int rank = 0; rank <= ranks.size(); ++rank) {
    starts.push_back(int(ranks.first_of(filters, rank)));
    value_starts.push_back(int(starts.back() * length * sizeof(std::int16_t)));
    scale_starts.push_back(int(starts.back() * sizeof(float)));
  }
  QuantizedWeights whole{format, std::vector<std::int16_t>(filters * length), std::vector<float>(filters), {}};
  if (format.rounding == Rounding::compensated) whole.bias_change.resize(filters);
  const int first = starts[ranks.rank()], count = starts[ranks.rank() + 1] - first;
  if (count > 0) {
    const QuantizedWeights part = make(first, count);
    std::copy(part.values.begin(), part.values.end(), whole.values.begin() + first * length);
    std::copy(part.scales.begin(), part.scales.end(), whole.scales.begin() + first);
    std::copy(part.bias_change.begin(), part.bias_change.end(), whole.bias_change.begin() + first);
  }
  ranks.join(std::as_writable_bytes(std::span(whole.values)), value_starts);
  ranks.join(std::as_writable_bytes(std::span(whole.scales)), scale_starts);
  if (!whole.bias_change.empty()) ranks.join(std::as_writable_bytes(std::span(whole.bias_change)), scale_starts);
  return whole;
}

bool can_share(const Ranks& ranks, std::size_t weights, const WeightFormat& format) {
  return ranks.size() > 1 && format.per_channel &&
         weights * sizeof(std::int16_t) <= std::size_t(std::numeric_limits<int>::max());
}

}  // namespace

Quantizer shared_quantizer(const Ranks& ranks, Quantizer quantizer) {
  return [&ranks, quantizer](std::span<const float> weights, int filters, const WeightFormat& format,
                             std::span<const float> minimum_scales) {
    if (!can_share(ranks, weights.size(), format) || weights.size() < fewest_shared_weights) {
      return quantizer(weights, filters, format, minimum_scales);
    }
    const std::size_t length = weights.size() / filters;
    return join_filters(ranks, format, filters, length, [&](int first, int count) {
      return quantizer(weights.subspan(first * length, count * length), count, format,
                       minimum_scales.empty() ? minimum_scales : minimum_scales.subspan(first, count));
    });
  };
}

void compensate_layers(const Ranks& ranks, Backend& backend, const IntegerNetwork& network, const Images& images,
                       const Quantizer& nearest,
                       const std::function<void(int layer, const Quantizer& compensated)>& prepare) {
  constexpr std::size_t most_bytes = std::size_t(1) << 30;  // of what is known of the inputs at a time
  const int first = int(ranks.first_of(images.count, ranks.rank()));
  const int count = int(ranks.first_of(images.count, ranks.rank() + 1)) - first;
  const std::vector<int> layers = weighted_layers(network.network);
  for (std::size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
    for (std::size_t bytes = 0; end < layers.size(); ++end) {
      bytes += gram_bytes(network.network, layers[end]);
      if (end > begin && bytes > most_bytes) break;
    }
    const std::span<const int> some = std::span(layers).subspan(begin, end - begin);
    std::vector<InputGram> grams =
        observe_grams(best_kernels(), backend, network, some, {images.pixels(first, count).data(), count});
    for (std::size_t i = 0; i < some.size(); ++i) {
      InputGram gram = std::move(grams[i]);
      ranks.sum(gram.products);
      ranks.sum(gram.sums);
      ranks.sum(std::span(&gram.positions, 1));
      const CompensatedRounding rounding(best_kernels(), gram);
      gram = {};
      prepare(some[i], [&](std::span<const float> weights, int filters, const WeightFormat& format,
                           std::span<const float> minimum_scales) {
        WeightFormat simple = format;
        simple.rounding = Rounding::nearest;
        const QuantizedWeights rounded = nearest(weights, filters, simple, minimum_scales);
        if (!can_share(ranks, weights.size(), format)) {
          return rounding.round(weights, rounded, minimum_scales, 0, filters);
        }
        return join_filters(ranks, format, filters, weights.size() / filters, [&](int first, int count) {
          return rounding.round(weights, rounded, minimum_scales, first, count);
        });
      });
    }
  }
}

}  // namespace bitcluster
