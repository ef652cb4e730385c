#include "host/cpu/quantize.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/cpu/kernels.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {
namespace {

/// Squared error of the weights at a scale; stops early with infinity once it exceeds `bound`.
double squared_error(const Kernels& kernels, std::span<const float> weights, float scale, const RoundingTable& table,
                     double bound) {
  double sum = 0;
  for (std::size_t begin = 0; begin < weights.size(); begin += chunk_weights) {
    const std::size_t end = std::min(begin + chunk_weights, weights.size());
    double chunk = 0;
    for (std::size_t block = begin; block < end; block += block_weights) {
      const int count = int(std::min<std::size_t>(block_weights, end - block));
      chunk += kernels.squared_error(weights.data() + block, count, scale, table.nearest.data(), table.last());
      // sums of squares never fall, so this candidate could not win any more
      if (sum + chunk > bound) return std::numeric_limits<double>::infinity();
    }
    sum += chunk;
  }
  return sum;
}

/// The scale of least squared error for the rounding at `scale`; 0 where all weights round to zero.
double closed_form(std::span<const float> weights, float scale, const RoundingTable& table) {
  const float halves = halves_per_scale(scale);
  double product = 0, square = 0;
  for (std::size_t begin = 0; begin < weights.size(); begin += chunk_weights) {
    const std::size_t end = std::min(begin + chunk_weights, weights.size());
    double chunk_product = 0, chunk_square = 0;
    for (std::size_t block = begin; block < end; block += block_weights) {
      double products[sum_lanes] = {}, squares[sum_lanes] = {};
      for (std::size_t i = block; i < std::min(block + block_weights, end); ++i) {
        const float magnitude = std::abs(weights[i]);
        const double rounded = table.nearest[search_place(magnitude, halves, table.last())];
        products[i % sum_lanes] += magnitude * rounded;
        squares[i % sum_lanes] += rounded * rounded;
      }
      chunk_product += sum_of_lanes(products);
      chunk_square += sum_of_lanes(squares);
    }
    product += chunk_product;
    square += chunk_square;
  }
  return square > 0 ? product / square : 0;
}

/// The scale of least squared error, at least `minimum`: the best candidate, the best near it, then the closed-form
/// optimum for its rounding, as long as that helps enough. `other` (if positive) is one more candidate.
float search_scale(const Kernels& kernels, std::span<const float> weights, const ScaleSearch& search,
                   const RoundingTable& table, float minimum, float other, bool parallel) {
  static const CandidateFactors factors = candidate_factors();
  double largest = 0;
  for (const float weight : weights) largest = std::max(largest, double(std::abs(weight)));
  if (largest == 0) return minimum > 0 ? minimum : 1.0f;

  float best = 0;
  double least = std::numeric_limits<double>::infinity();
  const auto keep_best_of = [&](std::span<const float> candidates) {
    std::vector<double> errors(candidates.size());
    std::atomic<double> bound = least;  // whatever it stops is worse than the best, so the threads' order never matters
    const auto evaluate = [&](long index, int = 0) {
      errors[index] = squared_error(kernels, weights, candidates[index], table, bound);
      for (double before = bound; errors[index] < before;) {
        if (bound.compare_exchange_weak(before, errors[index])) break;
      }
    };
    if (parallel) {
      parallel_for(long(candidates.size()), evaluate);
    } else {
      for (std::size_t i = 0; i < candidates.size(); ++i) evaluate(long(i));
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (errors[i] < least) {
        best = candidates[i];
        least = errors[i];
      }
    }
  };
  std::vector<float> candidates;
  const double unit = largest / search.highest;
  for (const double factor : factors.coarse) candidates.push_back(admissible_scale(unit * factor, minimum));
  if (other > 0) {
    candidates[other_candidate] = admissible_scale(other, minimum);
  } else {
    candidates.erase(candidates.begin() + other_candidate);
  }
  keep_best_of(std::span(candidates).first(1));  // a bound for the others
  keep_best_of(std::span(candidates).subspan(1));

  candidates.clear();
  for (const double factor : factors.fine) candidates.push_back(admissible_scale(best * factor, minimum));
  keep_best_of(candidates);

  for (double before = std::numeric_limits<double>::infinity(); least < (1 - least_gain) * before;) {
    before = least;
    const double scale = closed_form(weights, best, table);
    if (scale > 0) keep_best_of(std::vector{admissible_scale(scale, minimum)});
  }
  return best;
}

bool all_finite(std::span<const float> weights) {
  std::int32_t largest = 0;  // exponent and mantissa grow together; no early exit, so that it is done in vectors
  for (const float weight : weights) largest = std::max(largest, std::bit_cast<std::int32_t>(weight) & 0x7fffffff);
  return largest < 0x7f800000;
}

}  // namespace

QuantizedWeights quantize_with(const Kernels& kernels, std::span<const float> weights, int filters,
                               const WeightFormat& format, std::span<const float> minimum_scales) {
  check_quantization(weights.size(), filters, format, minimum_scales);
  const ScaleSearch search = format.preparation->scale_search(format);
  if (!all_finite(weights)) reject_not_finite();
  const std::vector<float> minimums = least_scales(filters, format, minimum_scales);
  const auto scale_of = [&](std::span<const float> part, float minimum, bool parallel) {
    float scale = 0;
    for (const RoundingTable& table : search.tables) {
      scale = search_scale(kernels, part, search, table, minimum, scale, parallel);
    }
    return scale;
  };

  QuantizedWeights result{format, std::vector<std::int16_t>(weights.size()), std::vector<float>(filters)};
  const std::size_t size = weights.size() / std::size_t(filters);
  if (!format.per_channel) std::ranges::fill(result.scales, scale_of(weights, minimums[0], true));
  parallel_for(filters, [&](long filter, int) {
    const std::span<const float> part = weights.subspan(std::size_t(filter) * size, size);
    float& scale = result.scales[filter];
    if (format.per_channel) scale = scale_of(part, minimums[filter], false);
    std::int16_t* values = result.values.data() + std::size_t(filter) * size;
    for (std::size_t i = 0; i < size; ++i) {
      const int place = exact_place(double(std::abs(part[i])) / scale, search.values.last());
      const int magnitude = int(search.values.nearest[place]);
      values[i] = std::int16_t(part[i] < 0 ? -magnitude : magnitude);
    }
  });
  return result;
}

QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                          std::span<const float> minimum_scales) {
  static const Kernels& kernels = best_kernels();
  return quantize_with(kernels, weights, filters, format, minimum_scales);
}

}  // namespace bitcluster
