#include "host/weights/scale_search.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "host/base/error.hpp"
#include "host/weights/terms.hpp"

namespace bitcluster {
namespace {

WeightFormat searched(WeightFormat format) {
  if (format.pruned) format.terms = 0;  // pruned after rounding to plain integers
  return format;
}

double keep_highest_bits(double magnitude, int count) {
  std::uint32_t kept = 0, left = std::uint32_t(magnitude);
  for (; count > 0 && left; --count) {
    kept |= std::bit_floor(left);
    left &= ~std::bit_floor(left);
  }
  return kept;
}

}  // namespace

CandidateFactors candidate_factors() {
  CandidateFactors factors;
  double* next = factors.coarse;
  *next++ = 1;
  *next++ = 1;  // other_candidate
  // from the unclipped scale outwards, so that a low error comes early and most others stop short
  for (int step = -1; step >= first_step; --step) *next++ = std::exp2(double(step) / steps_per_octave);
  for (int step = 1; step <= last_step; ++step) *next++ = std::exp2(double(step) / steps_per_octave);
  next = factors.fine;
  for (int step = -fine_steps + 1; step < fine_steps; ++step) {
    if (step != 0) *next++ = std::exp2(double(step) / (steps_per_octave * fine_steps));
  }
  return factors;
}

RoundingTable::RoundingTable(const WeightFormat& format) {
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

ScaleSearch::ScaleSearch(const WeightFormat& format) : values(searched(format)), highest((1 << (format.bits - 1)) - 1) {
  if (format.encoding == Encoding::signed_digit && format.terms > 0 && !format.exact) {
    WeightFormat binary = format;
    binary.encoding = Encoding::binary;
    tables.emplace_back(binary);
  }
  tables.push_back(values);
  if (format.pruned) {
    for (double& magnitude : values.nearest) magnitude = keep_highest_bits(magnitude, format.terms);
  }
}

void check_quantization(std::size_t weights, int filters, const WeightFormat& format,
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
  if (filters <= 0 || weights % std::size_t(filters) != 0) {
    throw Error("cannot quantize weights per filter",
                std::to_string(weights) + " weights do not divide into " + std::to_string(filters) + " filters",
                "check the shape of the layer");
  }
  if (!minimum_scales.empty() && minimum_scales.size() != std::size_t(filters)) {
    throw Error(
        "cannot bound the scales of the weights",
        std::to_string(minimum_scales.size()) + " least scales were given for " + std::to_string(filters) + " filters",
        "give one per filter");
  }
  if (!std::all_of(minimum_scales.begin(), minimum_scales.end(), [](float value) { return std::isfinite(value); })) {
    reject_not_finite();
  }
}

void reject_not_finite() {
  throw Error("cannot quantize weights", "a weight or the bound of a scale is infinite or not a number",
              "check the model file");
}

std::vector<float> least_scales(int filters, const WeightFormat& format, std::span<const float> minimum_scales) {
  if (minimum_scales.empty()) return std::vector<float>(format.per_channel ? filters : 1, 0.0f);
  if (!format.per_channel) return {*std::max_element(minimum_scales.begin(), minimum_scales.end())};
  return {minimum_scales.begin(), minimum_scales.end()};
}

}  // namespace bitcluster
