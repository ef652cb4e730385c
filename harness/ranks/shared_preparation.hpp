#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "harness/ranks/ranks.hpp"
#include "host/cpu/calibrate.hpp"
#include "host/data/dataset.hpp"
#include "host/inference/backend.hpp"

namespace bitcluster {

// Preparations of a study, shared out to all ranks; the same bits for any number of them. All calls are collective.

/// calibrate() on images that all ranks have.
Calibration calibrate(const Ranks& ranks, const Network& network, const Images& images,
                      const std::vector<float>& input_table, CalibrationMethod method, double percentile);

/// Weights of a layer from which on sharing pays: quantizing them takes 3 ms (23 M weights/s, analysis/benchmarks.md).
inline constexpr std::size_t fewest_shared_weights = 1 << 16;

/// A quantizer that all ranks call together; every rank does some filters of a large layer.
Quantizer shared_quantizer(const Ranks& ranks, Quantizer quantizer);

/// Calls `prepare` for every layer with weights, in order, with a quantizer for its formats of compensated rounding,
/// which knows the layer's inputs over `images` with the reference weights. nearest: quantizer of the other formats;
/// backend: has loaded the network.
void compensate_layers(const Ranks& ranks, Backend& backend, const IntegerNetwork& network, const Images& images,
                       const Quantizer& nearest,
                       const std::function<void(int layer, const Quantizer& compensated)>& prepare);

}  // namespace bitcluster
