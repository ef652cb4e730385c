#pragma once

#include <cstdint>
#include <vector>

#include "host/emulation/accelerator.hpp"
#include "host/emulation/layer.hpp"
#include "host/emulation/mapping.hpp"

namespace bitcluster {

// What the peer simulators do in another way, whatever the design. What they do in another way for one design is in
// designs/.

/// BitSim's array: taps on the lanes where a kernel has more taps than the layer channels; layers in groups, depthwise
/// included, one filter at a time with taps on the lanes; a set of pixels within one row of the output.
void bitsim_mapping(const LayerGeometry& geometry, Mapping& mapping);

/// A layer's tensors as a peer simulator sees them, and the storage behind them. Other accelerators see the layer.
struct PeerLayer {
  LayerTensors tensors;
  std::vector<std::int16_t> weights, activations;

  PeerLayer(const Accelerator& accelerator, const LayerTensors& layer);
  PeerLayer(const PeerLayer&) = delete;
};

}  // namespace bitcluster
