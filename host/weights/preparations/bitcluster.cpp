#include <fmt/core.h>

#include "host/base/error.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"
#include "host/weights/terms.hpp"

namespace bitcluster {
namespace {

RoundingTable table_of(const WeightFormat& format, Encoding encoding) {
  const std::vector<int> allowed = allowed_magnitudes(format, [&](int magnitude) {
    const int terms = term_count(encoding, std::uint32_t(magnitude));
    return format.exact ? terms == format.terms : terms <= format.terms;
  });
  if (allowed.size() == 1) {
    throw Error(fmt::format("cannot quantize weights to exactly {} {} terms", format.terms, to_string(encoding)),
                fmt::format("no magnitude of {}-bit weights has that many", format.bits),
                "use fewer terms or more bits");
  }
  return RoundingTable(allowed);
}

/// Every magnitude with at most N bits has at most N signed digits, so signed digits begin with bits and can only get
/// better.
ScaleSearch search_bitcluster(const WeightFormat& format) {
  if (format.terms < 1) {
    throw Error(fmt::format("cannot quantize weights to {} terms", format.terms),
                format.exact ? "exact needs at least one term" : "BitCluster needs at least one term",
                "choose terms >= 1, or plain integer weights");
  }
  const RoundingTable own = table_of(format, format.encoding);
  ScaleSearch search{{}, own, double(highest_magnitude(format))};
  if (format.encoding == Encoding::signed_digit && !format.exact) {
    search.tables.push_back(table_of(format, Encoding::binary));
  }
  search.tables.push_back(own);
  return search;
}

std::vector<WeightFormat> formats_of(const AskedFormats& asked, std::span<const int> terms) {
  std::vector<WeightFormat> formats;
  for (const int bits : asked.bits) {
    for (const Encoding encoding : asked.encodings) {
      for (const int n : terms) {
        WeightFormat format = bitcluster_format(n, encoding, bits);
        format.exact = asked.exact;
        format.per_channel = asked.reference.per_channel;
        format.rounding = asked.rounding;
        formats.push_back(format);
      }
    }
  }
  return formats;
}

}  // namespace

/// BitCluster(N) (Li et al., TCAD 2022): the nearest magnitude of at most N terms. M-BC is one N for the model, L-BC
/// one for every layer.
constinit const Preparation bitcluster_weights = {.name = "bitcluster",
                                                  .key = "terms",
                                                  .design = "bitcluster",
                                                  .exclusive = true,
                                                  .uniform = "M-BC",
                                                  .layerwise = "L-BC",
                                                  .prefix = "",
                                                  .same_for_all = true,
                                                  .formats = formats_of,
                                                  .scale_search = search_bitcluster};

}  // namespace bitcluster
