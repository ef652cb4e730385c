#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "host/inference/activation_format.hpp"
#include "host/model/network.hpp"
#include "host/weights/format.hpp"

namespace bitcluster {

/// A network whose weights and activations are integers: the one thing that backends evaluate.
/// Holds the reference weights; variants replace the weights of single layers.
struct IntegerNetwork {
  Network network;                        //!< topology, shapes and float weights (what variants are quantized from)
  std::vector<ActivationFormat> formats;  //!< per layer; the last layer's is not used, it gives float logits
  std::vector<QuantizedWeights> weights;  //!< per layer; empty where a layer has no weights
  std::vector<std::int8_t>
      input_table;  //!< (channels, 256): integer of every byte of the image, preprocessing included
};

/// The preprocessing of images: float value of every byte of every channel, (channels, 256).
using InputTable = std::vector<float>;

/// Rounds weights, on the CPU (cpu/quantize.hpp) or on a device.
using Quantizer = std::function<QuantizedWeights(std::span<const float> weights, int filters,
                                                 const WeightFormat& format, std::span<const float> minimum_scales)>;

/// Quantizes all weights to `reference` and prepares the input table. Throws Error naming the layer where int32 could
/// overflow.
IntegerNetwork make_integer(Network network, const Calibration& calibration, const WeightFormat& reference,
                            const InputTable& input, const Quantizer& quantizer);

/// The weights of one layer in another format, checked for overflow like the reference's.
QuantizedWeights quantize_layer(const IntegerNetwork& network, int layer, const WeightFormat& format,
                                const Quantizer& quantizer);

/// Mean terms that hardware spends.
struct MeanTerms {
  double per_weight = 0;
  double per_product = 0;  //!< of an image: weights count as often as they are used, as they do in cycles
};

/// weights: of all layers that have some, in their order.
MeanTerms mean_terms(const Network& network, std::span<const QuantizedWeights* const> weights);

/// int32 bias and float32 multiplier of every filter of a layer with the given weights.
/// Output integer = clamp(rint(float(sum + bias) * multiplier)), half to even; the last layer's logits are float(sum +
/// bias) * multiplier.
struct Requantization {
  std::vector<std::int32_t> bias;  //!< (filters), at scale activation x weight
  std::vector<float> multiplier;   //!< (filters)
};
Requantization requantization(const IntegerNetwork& network, int layer, const QuantizedWeights& weights);

}  // namespace bitcluster
