#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitcluster {

struct Preparation;
extern const Preparation plain_weights;

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

/// How weights come to allowed magnitudes.
enum class Rounding {
  nearest,      //!< each to the nearest
  compensated,  //!< one after the other, the next making up for what rounding has changed so far (cpu/compensate.hpp)
};

std::string to_string(Rounding rounding);
Rounding rounding_from_string(const std::string& name);  //!< Error for another name

/// How the weights of one layer are stored: sign-magnitude fixed point, value = scale * (+-m), m in [0, 2^(bits-1) -
/// 1].
struct WeightFormat {
  int bits = 8;  //!< 4..16, sign included
  Encoding encoding = Encoding::binary;
  int terms = 0;            //!< N of the preparation; 0 for plain weights, which keep all
  bool exact = false;       //!< BitCluster: only magnitudes with exactly N terms, and zero
  bool per_channel = true;  //!< one scale per filter, else one per tensor
  Rounding rounding = Rounding::nearest;
  const Preparation* preparation = &plain_weights;  //!< which magnitudes are allowed (preparation.hpp)

  bool operator==(const WeightFormat&) const = default;
};

/// The formats of BitCluster(N).
WeightFormat bitcluster_format(int terms, Encoding encoding = Encoding::binary, int bits = 8);

/// Weights of one layer on the integer grid.
struct QuantizedWeights {
  WeightFormat format;
  std::vector<std::int16_t> values;     //!< (filters, channels / groups, kernel_h, kernel_w), sign and magnitude
  std::vector<float> scales;            //!< (filters), all equal when format.per_channel is false
  std::vector<float> bias_change = {};  //!< (filters), in units of the input's scale; empty: the bias stays
};

/// Mean number of terms per weight that the hardware spends: format.terms where every weight takes as long (BitCluster,
/// null terms included), else the mean of count_terms over the values.
double mean_terms(const QuantizedWeights& weights);

}  // namespace bitcluster
