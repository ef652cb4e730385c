#include "host/base/error.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {
namespace {

ScaleSearch search_plain(const WeightFormat& format) {
  if (format.terms != 0 || format.exact) {
    throw Error("cannot quantize plain integer weights to a number of terms", "they keep all their bits",
                "take the weights of BitCluster, or leave the terms out");
  }
  const RoundingTable all(allowed_magnitudes(format, [](int) { return true; }));
  return {{all}, all, double(highest_magnitude(format))};
}

}  // namespace

/// Integers with all their bits: what every network starts from, and the weights of designs without a preparation of
/// their own.
constinit const Preparation plain_weights = {.name = "integer",
                                             .key = "",
                                             .design = "",
                                             .uniform = "",
                                             .layerwise = "",
                                             .prefix = "",
                                             .scale_search = search_plain};

}  // namespace bitcluster
