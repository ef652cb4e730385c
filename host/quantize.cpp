#include "host/quantize.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "host/error.hpp"
#include "host/parallel.hpp"
#include "host/terms.hpp"

namespace bitcluster {
namespace {

/// Candidate scales are max|w| / (2^(bits-1) - 1) times 2^(k / steps_per_octave), k in [first_step, last_step].
/// Above 1: the largest magnitude with few terms is little more than half of 2^(bits-1) - 1, so the best scale of
/// BitCluster(1) can lie an octave above. Below 1: clipping, and for `exact` a nonzero magnitude close to zero.
/// The list does not depend on encoding and terms.
constexpr int steps_per_octave = 32;
constexpr int first_step = -3 * steps_per_octave;
constexpr int last_step = 3 * steps_per_octave / 2;

/// The best candidate's neighbourhood, one step to either side, is searched again in steps this many times finer.
constexpr int fine_steps = 8;

constexpr float smallest_scale = std::numeric_limits<float>::min();

/// Rounds to the nearest allowed magnitude. Midpoints between integers are multiples of one half, so the answer depends
/// only on which half-open interval (j / 2, (j + 1) / 2] the value lies in.
struct RoundingTable {
  std::vector<double> nearest;  //!< by j; the last entry is the largest allowed magnitude and serves all beyond

  explicit RoundingTable(const WeightFormat& format) {
    const int highest = (1 << (format.bits - 1)) - 1;
    std::vector<int> allowed = {0};
    for (int magnitude = 1; magnitude <= highest; ++magnitude) {
      const int terms = term_count(format.encoding, std::uint32_t(magnitude));
      if (format.terms == 0 || (format.exact ? terms == format.terms : terms <= format.terms)) {
        allowed.push_back(magnitude);
      }
    }
    if (allowed.size() == 1) {
      throw Error("cannot quantize weights to exactly " + std::to_string(format.terms) + " " +
                      to_string(format.encoding) + " terms",
                  "no magnitude of " + std::to_string(format.bits) + "-bit weights has that many",
                  "use fewer terms or more bits");
    }
    const int top = allowed.back();
    nearest.resize(2 * top + 1);
    std::size_t next = 0;
    for (int j = 0; j <= 2 * top; ++j) {
      // the whole interval lies at or below the midpoint of two neighbours, or above it
      while (next + 1 < allowed.size() && allowed[next] + allowed[next + 1] <= j) ++next;
      nearest[j] = allowed[next];
    }
  }

  /// `ratio` is |w| / scale. Exact, ties to the smaller: float operands keep the quotient of two numbers further from a
  /// midpoint than double rounding can reach, unless it is the midpoint.
  int round(double ratio) const {
    const double halves = std::min(2 * ratio, double(nearest.size() - 1));
    const int j = int(halves);
    return int(nearest[j > 0 && j == halves ? j - 1 : j]);
  }
};

/// Squared error of the weights at a scale, in a fixed order; stops early with infinity once it exceeds `bound`.
double squared_error(std::span<const float> weights, float scale, const RoundingTable& table, double bound) {
  constexpr std::size_t block = 256;
  const double step = scale, halves_per_unit = 2 / step;
  const double last = double(table.nearest.size() - 1);
  const double* nearest = table.nearest.data();
  // a tie may fall on either side here, at the same error
  const auto error = [&](float weight) {
    const double magnitude = std::abs(weight);
    const double difference = magnitude - step * nearest[int(std::min(magnitude * halves_per_unit, last))];
    return difference * difference;
  };
  double sums[4] = {};
  for (std::size_t begin = 0; begin < weights.size(); begin += block) {
    const std::size_t end = std::min(begin + block, weights.size());
    std::size_t i = begin;
    for (; i + 4 <= end; i += 4) {
      for (int lane = 0; lane < 4; ++lane) sums[lane] += error(weights[i + lane]);
    }
    for (; i < end; ++i) sums[0] += error(weights[i]);
    if (sums[0] + sums[1] + (sums[2] + sums[3]) > bound) return std::numeric_limits<double>::infinity();
  }
  return sums[0] + sums[1] + (sums[2] + sums[3]);
}

struct ScaleAndError {
  float scale;
  double error;
};

/// The scale of least squared error, at least `minimum`: the best candidate, the best near it, then the closed-form
/// optimum for its rounding, as long as that helps. `also` (if positive) is one more candidate.
ScaleAndError search_scale(std::span<const float> weights, const WeightFormat& format, const RoundingTable& table,
                           float minimum, float also, bool parallel) {
  double largest = 0;
  for (const float weight : weights) largest = std::max(largest, double(std::abs(weight)));
  if (largest == 0) return {minimum > 0 ? minimum : 1.0f, 0};
  const double unit = largest / ((1 << (format.bits - 1)) - 1);
  const auto admissible = [&](double scale) { return std::max({float(scale), minimum, smallest_scale}); };

  ScaleAndError best{admissible(unit), 0};
  best.error = squared_error(weights, best.scale, table, std::numeric_limits<double>::infinity());
  const auto keep_best_of = [&](const std::vector<float>& candidates) {
    std::vector<double> errors(candidates.size());
    if (parallel) {
      const double bound = best.error;
      parallel_for(long(candidates.size()),
                   [&](long index, int) { errors[index] = squared_error(weights, candidates[index], table, bound); });
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (!parallel) errors[i] = squared_error(weights, candidates[i], table, best.error);
      if (errors[i] < best.error) best = {candidates[i], errors[i]};
    }
  };

  std::vector<float> candidates;
  if (also > 0) candidates.push_back(admissible(also));
  // from the unclipped scale outwards, so that a low error comes early and most others stop short
  for (int step = -1; step >= first_step; --step) {
    candidates.push_back(admissible(unit * std::exp2(double(step) / steps_per_octave)));
  }
  for (int step = 1; step <= last_step; ++step) {
    candidates.push_back(admissible(unit * std::exp2(double(step) / steps_per_octave)));
  }
  keep_best_of(candidates);

  candidates.clear();
  for (int step = -fine_steps + 1; step < fine_steps; ++step) {
    if (step != 0) {
      candidates.push_back(admissible(best.scale * std::exp2(double(step) / (steps_per_octave * fine_steps))));
    }
  }
  keep_best_of(candidates);

  for (;;) {
    double product = 0, square = 0;
    for (const float weight : weights) {
      const double magnitude = std::abs(weight);
      const double rounded = table.round(magnitude / best.scale);
      product += magnitude * rounded;
      square += rounded * rounded;
    }
    if (square == 0) break;
    const double before = best.error;
    keep_best_of({admissible(product / square)});
    if (!(best.error < before)) break;
  }
  return best;
}

void check(std::span<const float> weights, int filters, const WeightFormat& format,
           std::span<const float> minimum_scales) {
  if (format.bits < 4 || format.bits > 16) {
    throw Error("cannot quantize weights to " + std::to_string(format.bits) + " bits", "4 to 16 bits are supported",
                "choose a number of bits in that range");
  }
  if (format.terms < 0 || (format.exact && format.terms == 0)) {
    throw Error("cannot quantize weights to " + std::to_string(format.terms) + " terms",
                format.exact ? "exact needs at least one term" : "the number of terms cannot be negative",
                "choose terms >= 1, or 0 for plain integer weights");
  }
  if (format.pruned && (format.terms == 0 || format.exact || format.encoding != Encoding::binary)) {
    throw Error("cannot prune the bits of weights", "pruning keeps at most N set bits, with N of 1 or more",
                "choose binary, terms >= 1, and not exact");
  }
  if (filters <= 0 || weights.size() % std::size_t(filters) != 0) {
    throw Error("cannot quantize weights per filter",
                std::to_string(weights.size()) + " weights do not divide into " + std::to_string(filters) + " filters",
                "check the shape of the layer");
  }
  if (!minimum_scales.empty() && minimum_scales.size() != std::size_t(filters)) {
    throw Error(
        "cannot bound the scales of the weights",
        std::to_string(minimum_scales.size()) + " least scales were given for " + std::to_string(filters) + " filters",
        "give one per filter");
  }
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(weights.begin(), weights.end(), finite) ||
      !std::all_of(minimum_scales.begin(), minimum_scales.end(), finite)) {
    throw Error("cannot quantize weights", "a weight or the bound of a scale is infinite or not a number",
                "check the model file");
  }
}

}  // namespace

std::string to_string(Encoding encoding) {
  switch (encoding) {
    case Encoding::binary:
      return "binary";
    case Encoding::signed_digit:
      return "signed_digit";
    case Encoding::booth_dnnsim:
      return "booth_dnnsim";
  }
  std::abort();
}

Encoding encoding_from_string(const std::string& name) {
  if (name == "binary") return Encoding::binary;
  if (name == "signed_digit") return Encoding::signed_digit;
  throw Error("unknown encoding '" + name + "'", "an encoding is binary or signed_digit", "use one of these names");
}

int count_terms(Encoding encoding, int magnitude) {
  if (magnitude < 0 || magnitude > 0xffff) {
    throw Error("cannot count the terms of " + std::to_string(magnitude), "a magnitude lies in 0..65535",
                "pass the absolute value of a weight or activation");
  }
  return term_count(encoding, std::uint32_t(magnitude));
}

QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                          std::span<const float> minimum_scales) {
  check(weights, filters, format, minimum_scales);
  if (format.pruned) {
    WeightFormat plain = format;
    plain.terms = 0;
    plain.pruned = false;
    QuantizedWeights result = quantize(weights, filters, plain, minimum_scales);
    result.format = format;
    for (std::int16_t& value : result.values) {
      std::uint32_t kept = 0, left = std::uint32_t(std::abs(value));
      for (int term = 0; term < format.terms && left; ++term) {
        kept |= std::bit_floor(left);
        left &= ~std::bit_floor(left);
      }
      value = std::int16_t(value < 0 ? -int(kept) : int(kept));
    }
    return result;
  }
  const RoundingTable table(format);
  // Every magnitude with at most N bits has at most N signed digits, so the scale of the binary form is a candidate
  // that can only get better: signed digits are never worse.
  const bool compare_binary = format.encoding == Encoding::signed_digit && format.terms > 0 && !format.exact;
  WeightFormat binary = format;
  binary.encoding = Encoding::binary;
  const RoundingTable binary_table(compare_binary ? binary : format);

  const auto scale_of = [&](std::span<const float> part, float minimum, bool parallel) {
    const float also = compare_binary ? search_scale(part, binary, binary_table, minimum, 0, parallel).scale : 0;
    return search_scale(part, format, table, minimum, also, parallel).scale;
  };

  QuantizedWeights result{format, std::vector<std::int16_t>(weights.size()), std::vector<float>(filters)};
  const std::size_t size = weights.size() / std::size_t(filters);
  if (!format.per_channel) {
    const float minimum = minimum_scales.empty() ? 0 : *std::max_element(minimum_scales.begin(), minimum_scales.end());
    std::fill(result.scales.begin(), result.scales.end(), scale_of(weights, minimum, true));
  }
  parallel_for(filters, [&](long filter, int) {
    const std::span<const float> part = weights.subspan(std::size_t(filter) * size, size);
    float& scale = result.scales[filter];
    if (format.per_channel) scale = scale_of(part, minimum_scales.empty() ? 0 : minimum_scales[filter], false);
    std::int16_t* values = result.values.data() + std::size_t(filter) * size;
    for (std::size_t i = 0; i < size; ++i) {
      const int magnitude = table.round(double(std::abs(part[i])) / scale);
      values[i] = std::int16_t(part[i] < 0 ? -magnitude : magnitude);
    }
  });
  return result;
}

double mean_terms(const QuantizedWeights& weights) {
  if (weights.format.terms > 0 && !weights.format.pruned) return weights.format.terms;
  if (weights.values.empty()) return 0;
  std::int64_t sum = 0;
  for (const std::int16_t value : weights.values) {
    sum += term_count(weights.format.encoding, std::uint32_t(std::abs(value)));
  }
  return double(sum) / double(weights.values.size());
}

}  // namespace bitcluster
