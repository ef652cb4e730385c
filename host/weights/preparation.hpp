#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "host/weights/format.hpp"

namespace bitcluster {

struct ScaleSearch;

/// What a config's [search] asks for, beside the list of N of a preparation.
struct AskedFormats {
  WeightFormat reference;           //!< the plain weights of the study
  std::vector<int> bits;            //!< `bits`
  std::vector<Encoding> encodings;  //!< `encodings`
  bool exact = false;
  Rounding rounding = Rounding::nearest;
};

/// A way to make weights cheaper for the designs that run them: which magnitudes are allowed, what a config lists for
/// it, and how results name it. One file of preparations/ each.
struct Preparation {
  std::string_view name;    //!< in results, assignments and contents' names
  std::string_view key;     //!< in [search]: the list of N to try; empty: never searched
  std::string_view design;  //!< the name of the design that runs its assignments; empty: all run these weights
  bool exclusive = false;   //!< that design runs no plain weights

  std::string_view uniform;    //!< what the cheapest assignment of one N to all layers is called; empty: not reported
  std::string_view layerwise;  //!< what the assignment that the search finds is called
  std::string_view prefix;     //!< in front of the other assignments' names

  bool same_for_all = false;  //!< every weight takes as long as N terms, those that it lacks included

  /// The formats that a search tries, the smallest N of each kind first; null: never searched.
  std::vector<WeightFormat> (*formats)(const AskedFormats& asked, std::span<const int> terms) = nullptr;

  /// How every backend's quantize() rounds. Error for a format that is impossible.
  ScaleSearch (*scale_search)(const WeightFormat& format);
};

extern const Preparation plain_weights, bitcluster_weights;  // the two that the program speaks of itself

/// All of them, in the order in which tables show them.
std::span<const Preparation* const> preparations();

}  // namespace bitcluster
