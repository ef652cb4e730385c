#include "host/weights/scale_search.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "host/base/error.hpp"

namespace bitcluster {
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

RoundingTable::RoundingTable(std::span<const int> allowed) {
  const int top = allowed.back();
  nearest.resize(2 * top + 1);
  std::size_t next = 0;
  for (int j = 0; j <= 2 * top; ++j) {
    // the whole interval lies at or below the midpoint of two neighbours, or above it
    while (next + 1 < allowed.size() && allowed[next] + allowed[next + 1] <= j) ++next;
    nearest[j] = allowed[next];
  }
}

void check_quantization(std::size_t weights, int filters, const WeightFormat& format,
                        std::span<const float> minimum_scales) {
  if (format.bits < 4 || format.bits > 16) {
    throw Error(fmt::format("cannot quantize weights to {} bits", format.bits), "4 to 16 bits are supported",
                "choose a number of bits in that range");
  }
  if (format.rounding != Rounding::nearest) {
    throw Error("cannot round weights with compensation", "nothing is known of the layer's inputs",
                "use CompensatedRounding");
  }
  if (filters <= 0 || weights % std::size_t(filters) != 0) {
    throw Error("cannot quantize weights per filter",
                fmt::format("{} weights do not divide into {} filters", weights, filters),
                "check the shape of the layer");
  }
  if (!minimum_scales.empty() && minimum_scales.size() != std::size_t(filters)) {
    throw Error("cannot bound the scales of the weights",
                fmt::format("{} least scales were given for {} filters", minimum_scales.size(), filters),
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
