#pragma once

// What every backend's quantize() is made of: the scales that are tried, how a weight is rounded at a scale, and the
// order in which errors are summed. Read by nvcc, too.

#include <cstdint>
#include <span>
#include <vector>

#include "host/base/host_device.hpp"
#include "host/weights/format.hpp"

namespace bitcluster {

/// Candidate scales are max|w| / (2^(bits-1) - 1) times 2^(k / steps_per_octave), k in [first_step, last_step].
/// Above 1: the largest magnitude with few terms is little more than half of 2^(bits-1) - 1, so the best scale of
/// BitCluster(1) can lie an octave above. Below 1: clipping, and for `exact` a nonzero magnitude close to zero.
/// The list does not depend on encoding and terms.
constexpr int steps_per_octave = 32;
constexpr int first_step = -3 * steps_per_octave;
constexpr int last_step = 3 * steps_per_octave / 2;

/// The best candidate's neighbourhood, one step to either side, is searched again in steps this many times finer.
constexpr int fine_steps = 8;

/// The closed-form optimum is taken again while it lowers the error by more than this part: the sums over a large
/// tensor are so smooth that it would creep on for hundreds of rounds (135 for 2.4 million normal weights, to gain
/// 1e-6).
constexpr double least_gain = 1e-6;

/// What the candidates are multiples of max|w| / (2^(bits-1) - 1), then of the best of these, in the order in which the
/// first of equally good ones wins. In the place `other_candidate` stands the scale that an earlier search found, if
/// there was one.
struct CandidateFactors {
  double coarse[last_step - first_step + 2];
  double fine[2 * fine_steps - 2];
};
constexpr int other_candidate = 1;
CandidateFactors candidate_factors();

/// The float that is tried for a candidate.
BITCLUSTER_DEVICE float admissible_scale(double scale, float minimum) {
  constexpr float smallest = 0x1p-126f;  // the smallest normal float
  const float least = minimum > smallest ? minimum : smallest;
  return float(scale) > least ? float(scale) : least;
}

/// Errors are summed in lanes: weight i of a block belongs to lane i mod sum_lanes, and lanes are added in pairs half
/// of them apart. A chunk adds its blocks in order, and all weights that share a scale their chunks.
constexpr int sum_lanes = 16, block_weights = 256, chunk_weights = 4096;
BITCLUSTER_DEVICE double sum_of_lanes(double (&lanes)[sum_lanes]) {
  for (int half = sum_lanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

/// Rounding to the nearest allowed magnitude. Midpoints between integers are multiples of one half, so the answer
/// depends only on which half-open interval (j / 2, (j + 1) / 2] the value lies in.
struct RoundingTable {
  std::vector<double> nearest;  //!< by j; the last entry is the largest allowed magnitude and serves all beyond

  /// allowed: magnitudes in rising order, 0 first.
  explicit RoundingTable(std::span<const int> allowed);
  int last() const { return int(nearest.size()) - 1; }
};

/// Place in a table of `ratio` = |w| / scale. Exact, ties to the smaller: float operands keep the quotient of two
/// numbers further from a midpoint than double rounding can reach, unless it is the midpoint.
BITCLUSTER_DEVICE int exact_place(double ratio, int last) {
  const double halves = 2 * ratio < last ? 2 * ratio : last;
  const int j = int(halves);
  return j > 0 && j == halves ? j - 1 : j;
}

/// The same for the search, in float32: rounding may go the other way within 2^-23 of a midpoint, relative to the
/// weight. Errors are those of what it rounds to.
BITCLUSTER_DEVICE int search_place(float magnitude, float halves_per_scale, int last) {
  const float halves = multiply_rounded(magnitude, halves_per_scale);
#ifdef __CUDA_ARCH__
  // from 2^23 on floats have steps of 1: the sum rounded to zero has the integer part in its low bits, and its bits go
  // on growing beyond 2^24; cheaper than a conversion
  constexpr int zero = 0x4b000000;
  const int place = __float_as_int(__fadd_rz(halves, 0x1p23f));
  return (place < last + zero ? place : last + zero) - zero;
#else
  return int(halves < float(last) ? halves : float(last));
#endif
}
BITCLUSTER_DEVICE float halves_per_scale(double scale) { return float(2 / scale); }

constexpr int highest_magnitude(const WeightFormat& format) { return (1 << (format.bits - 1)) - 1; }

/// 0 and the magnitudes of a format's bits that `is_allowed`, in rising order.
template <class Predicate>
std::vector<int> allowed_magnitudes(const WeightFormat& format, Predicate&& is_allowed) {
  std::vector<int> allowed = {0};
  for (int magnitude = 1; magnitude <= highest_magnitude(format); ++magnitude) {
    if (is_allowed(magnitude)) allowed.push_back(magnitude);
  }
  return allowed;
}

/// What quantize() does for a format; made by its preparation.
struct ScaleSearch {
  std::vector<RoundingTable> tables;  //!< of the searches, one after the other; what one finds the next one tries, too
  RoundingTable values;               //!< the magnitudes to store, by place of the last of `tables`
  double highest;                     //!< 2^(bits-1) - 1
};

/// Errors of quantize() that need no look at the weights.
void check_quantization(std::size_t weights, int filters, const WeightFormat& format,
                        std::span<const float> minimum_scales);
[[noreturn]] void reject_not_finite();

/// The least scale of every group of weights that share one: per filter, or the largest for the tensor.
std::vector<float> least_scales(int filters, const WeightFormat& format, std::span<const float> minimum_scales);

}  // namespace bitcluster
