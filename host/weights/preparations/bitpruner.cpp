#include <bit>

#include "host/base/error.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {

extern const Preparation bitpruner_weights;

namespace {

double keep_highest_bits(double magnitude, int count) {
  std::uint32_t kept = 0, left = std::uint32_t(magnitude);
  for (; count > 0 && left; --count) {
    kept |= std::bit_floor(left);
    left &= ~std::bit_floor(left);
  }
  return kept;
}

/// Plain rounding at the scale of plain weights; then bits are dropped.
ScaleSearch search_bitpruner(const WeightFormat& format) {
  if (format.terms < 1 || format.exact || format.encoding != Encoding::binary) {
    throw Error("cannot prune the bits of weights", "pruning keeps at most N set bits, with N of 1 or more",
                "choose binary, terms >= 1, and not exact");
  }
  WeightFormat whole = format;
  whole.terms = 0;
  ScaleSearch search = plain_weights.scale_search(whole);
  for (double& magnitude : search.values.nearest) magnitude = keep_highest_bits(magnitude, format.terms);
  return search;
}

std::vector<WeightFormat> formats_of(const AskedFormats& asked, std::span<const int> terms) {
  std::vector<WeightFormat> formats;
  for (const int n : terms) {
    WeightFormat format = asked.reference;
    format.terms = n;
    format.rounding = asked.rounding;
    format.preparation = &bitpruner_weights;
    formats.push_back(format);
  }
  return formats;
}

}  // namespace

/// BitPruner (Zhao et al., DAC 2020), our reading and without retraining: plain integer weights of which only the N
/// highest set bits stay; for Pragmatic serial on weights.
constinit const Preparation bitpruner_weights = {.name = "bitpruner",
                                                 .key = "bitpruner_terms",
                                                 .design = "pragmatic_weights",
                                                 .uniform = "",
                                                 .layerwise = "BitPruner",
                                                 .prefix = "BitPruner ",
                                                 .formats = formats_of,
                                                 .scale_search = search_bitpruner};

}  // namespace bitcluster
