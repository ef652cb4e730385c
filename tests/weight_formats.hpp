#pragma once

#include "host/weights/preparation.hpp"

namespace bitcluster {

extern const Preparation bitpruner_weights;

/// BitCluster(terms), or plain integers where terms is 0.
inline WeightFormat format_of(int bits, Encoding encoding, int terms, bool exact = false, bool per_channel = true) {
  WeightFormat format = bitcluster_format(terms, encoding, bits);
  format.exact = exact;
  format.per_channel = per_channel;
  if (terms == 0 && !exact) format.preparation = &plain_weights;
  return format;
}

/// BitPruner(terms).
inline WeightFormat pruned_format(Encoding encoding, int terms, int bits = 8, bool per_channel = true) {
  WeightFormat format = format_of(bits, encoding, terms, false, per_channel);
  format.preparation = &bitpruner_weights;
  return format;
}

}  // namespace bitcluster
