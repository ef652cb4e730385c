#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "host/emulation/accelerator.hpp"
#include "host/model/network.hpp"
#include "host/weights/format.hpp"

namespace bitcluster {

/// What the emulator needs to know of a layer's shape (one image).
struct LayerGeometry {
  std::string name;
  bool fully_connected = false;
  int filters = 0;
  int groups = 1;
  Window window;
  Shape input;   //!< unpadded
  Shape output;  //!< (filters, oy, ox); (filters, 1, 1) when fully connected

  int channels_per_group() const { return input.channels / groups; }
};

/// Error if the layer has no weights.
LayerGeometry layer_geometry(const Network& network, int layer);

/// One layer's integer tensors for one image.
struct LayerTensors {
  LayerGeometry geometry;
  std::span<const std::int16_t> weights;  //!< (filters, channels / groups, kernel_h, kernel_w), sign and magnitude
  WeightFormat weight_format;             //!< holds every weight; terms is the N of BitCluster
  std::span<const std::int16_t>
      activations;  //!< (channels, h, w), unpadded; empty where the design does not look at them
  int activation_bits = 8;
  bool activations_signed = false;
};

/// Output pixels, 1 of a fully connected layer.
std::int64_t pixels_of(const LayerGeometry& geometry);

/// Error for an accelerator with a fault, tensors that do not fit the geometry, or no activations
/// where the design needs them.
void check_layer(const Accelerator& accelerator, const LayerTensors& layer);

// What designs ask of a layer's values: Error about a layer that cannot run on an accelerator.

[[noreturn]] void reject_layer(const Accelerator& accelerator, const LayerTensors& layer, const std::string& why,
                               const std::string& what_to_do);

/// Weights fit so many bits in two's complement.
void check_weight_bits(const Accelerator& accelerator, const LayerTensors& layer, int bits);

/// Weights fit a sign and a magnitude of so many bits.
void check_magnitudes(const Accelerator& accelerator, const LayerTensors& layer, int bits);

/// No activation is negative unless that was announced: where widths are in two's complement, its sign would be lost.
void check_signs(const Accelerator& accelerator, const LayerTensors& layer);

}  // namespace bitcluster
