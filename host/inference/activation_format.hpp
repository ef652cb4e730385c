#pragma once

#include <vector>

#include "host/model/network.hpp"

namespace bitcluster {

/// 8-bit activations of one tensor: value = scale * integer, zero point 0.
struct ActivationFormat {
  float scale = 1;
  bool is_signed = true;

  int lowest() const { return is_signed ? -127 : 0; }  //!< sign-magnitude, so -128 does not exist
  int highest() const { return is_signed ? 127 : 255; }
};

/// What calibration found for the output of every layer.
struct Calibration {
  std::vector<ActivationFormat> formats;  //!< one per layer
};

/// Whether a layer only selects or moves values: its output has the format of its input, integers are copied.
bool keeps_format(const Layer& layer);

/// Gives the outputs of such layers the format of their inputs.
void copy_kept_formats(const Network& network, std::vector<ActivationFormat>& formats);

}  // namespace bitcluster
