#include "host/weights/format.hpp"

#include <fmt/core.h>

#include <cstdlib>

#include "host/base/error.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/terms.hpp"

namespace bitcluster {

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

std::string to_string(Rounding rounding) { return rounding == Rounding::nearest ? "nearest" : "compensated"; }

Rounding rounding_from_string(const std::string& name) {
  if (name == "nearest") return Rounding::nearest;
  if (name == "compensated") return Rounding::compensated;
  throw Error("unknown rounding '" + name + "'", "weights are rounded nearest or compensated",
              "use one of these names");
}

int count_terms(Encoding encoding, int magnitude) {
  if (magnitude < 0 || magnitude > 0xffff) {
    throw Error(fmt::format("cannot count the terms of {}", magnitude), "a magnitude lies in 0..65535",
                "pass the absolute value of a weight or activation");
  }
  return term_count(encoding, std::uint32_t(magnitude));
}

WeightFormat bitcluster_format(int terms, Encoding encoding, int bits) {
  WeightFormat format;
  format.bits = bits;
  format.encoding = encoding;
  format.terms = terms;
  format.preparation = &bitcluster_weights;
  return format;
}

double mean_terms(const QuantizedWeights& weights) {
  if (weights.format.preparation->same_for_all) return weights.format.terms;
  if (weights.values.empty()) return 0;
  std::int64_t sum = 0;
  for (const std::int16_t value : weights.values) {
    sum += term_count(weights.format.encoding, std::uint32_t(std::abs(value)));
  }
  return double(sum) / double(weights.values.size());
}

}  // namespace bitcluster
