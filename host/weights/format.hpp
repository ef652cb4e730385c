#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace bitcluster {

/// How a magnitude is written as signed powers of two.
enum class Encoding {
  binary,        //!< its set bits
  signed_digit,  //!< the nonzero digits of its non-adjacent form; a position may be one past the top magnitude bit
  booth_dnnsim,  //!< the recoding of a peer simulator, for emulated operands only, never for
                 //!< weights
};

std::string to_string(Encoding encoding);
Encoding encoding_from_string(const std::string& name);  //!< of weights; Error for another name

/// Number of terms (effectual bits) of a magnitude.
int count_terms(Encoding encoding, int magnitude);

/// How the weights of one layer are stored: sign-magnitude fixed point, value = scale * (+-m), m in [0, 2^(bits-1) -
/// 1].
struct WeightFormat {
  int bits = 8;  //!< 4..16, sign included
  Encoding encoding = Encoding::binary;
  int terms = 0;            //!< N of BitCluster(N); 0 keeps every magnitude (plain integer weights)
  bool exact = false;       //!< only magnitudes with exactly N terms, and zero
  bool per_channel = true;  //!< one scale per filter, else one per tensor
  /// BitPruner (Zhao et al., DAC 2020), our reading and without retraining: plain integer weights of which only the N
  /// highest set bits stay; binary.
  bool pruned = false;

  auto operator<=>(const WeightFormat&) const = default;
};

/// Weights of one layer on the integer grid.
struct QuantizedWeights {
  WeightFormat format;
  std::vector<std::int16_t> values;  //!< (filters, channels / groups, kernel_h, kernel_w), sign and magnitude
  std::vector<float> scales;         //!< (filters), all equal when format.per_channel is false
};

/// Rounds weights to the nearest allowed magnitudes (ties to the smaller), with the scales that minimise the squared
/// error over a fixed list of candidates, the same for every backend. weights: (filters, size / filters).
/// minimum_scales: empty, or per filter the least scale allowed (so that an int32 bias fits). Error for bits
/// outside 4..16, negative terms, or weights that are not finite.
QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                          std::span<const float> minimum_scales = {});

/// Mean number of terms per weight that the hardware spends: format.terms for BitCluster(N) (null terms included), else
/// the mean of count_terms over the values (plain and pruned integers).
double mean_terms(const QuantizedWeights& weights);

}  // namespace bitcluster
