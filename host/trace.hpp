#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/emulator.hpp"

namespace bitcluster {

/// One layer of a trace file.
struct TraceLayer {
  LayerGeometry geometry;
  std::vector<std::int16_t> weights;      //!< (filters, channels / groups, kernel_h, kernel_w)
  WeightFormat weight_format;             //!< as observed_format() finds it in the binary encoding
  int images = 0;                         //!< 0 if the file has no activations for this layer
  std::vector<std::int16_t> activations;  //!< (images, channels, h, w), unpadded
  int activation_bits = 8;                //!< 8, or more if the values need it; the sign is one of them
  bool activations_signed = false;        //!< whether any value is negative

  /// The tensors of one image; without activations there is only image 0.
  LayerTensors tensors(int image = 0) const;
};

struct Trace {
  std::vector<TraceLayer> layers;  //!< in the order of their names
};

/// The narrowest format that holds integer weights: bits from the largest magnitude (sign included, at least 4) and
/// terms from the largest number of terms of a weight (at least 1).
WeightFormat observed_format(std::span<const std::int16_t> weights, Encoding encoding);

/// Reads integer tensors from elsewhere (DESIGN section 5.5): in every group of /layers the dataset `weights` (any
/// integer type, values within int16), optionally `activations`, and the attributes
///   kind      "conv" or "fc", required
///   stride    1 or 2 integers (one for both, or h, w), default 1
///   padding   1, 2 or 4 integers (one for all; h, w; top, left, bottom, right), default 0
///   dilation  1 or 2 integers, default 1
///   groups    1 integer, default 1
///   input     2 integers (h, w), for a conv layer without activations, whose map size is else unknown.
/// Error for anything else, naming file and layer.
Trace read_trace(const std::string& path);

}  // namespace bitcluster
