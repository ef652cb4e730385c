#pragma once

#include <span>
#include <string>
#include <vector>

#include "host/weights/format.hpp"

namespace bitcluster {

/// The formats that an assignment file gives to a network's weighted layers, in the order of `layers`, their names. The
/// file is CSV (RFC 4180) with a header and a line per layer: columns layer, preparation, bits, encoding, terms, and
/// optionally rounding and exact (0 or 1), in any order. Whether scales are per channel is the reference's.
/// preparation: as results name it (bitcluster, bitpruner), or integer for layers that keep the reference weights,
/// whose other cells but bits may be empty. Error, naming file and line, for what cannot be read or is impossible, for
/// a layer that is missing, twice there or unknown, for two preparations beside integer, and for integer weights of
/// other bits than the reference's.
std::vector<WeightFormat> load_assignment(const std::string& path, std::span<const std::string> layers,
                                          const WeightFormat& reference);

/// What an assignment file is called in tables: its name without folder and extension.
std::string assignment_name(const std::string& path);

}  // namespace bitcluster
