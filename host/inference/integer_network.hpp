#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "host/model/network.hpp"
#include "host/weights/format.hpp"

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

enum class CalibrationMethod { maximum, percentile, least_squares };

/// How several processes calibrate together, each on a part of the images: what they found becomes the largest, or the
/// sum, of all, element by element.
struct CalibrationShare {
  int first_image = 0;  //!< of this process
  std::function<void(std::span<double>)> largest;
  std::function<void(std::span<std::int64_t>)> sum;
};

/// Observes the float activations of calibration images, (count, h, w, c) after preprocessing, and chooses one scale
/// per tensor. Max pooling, rearranging and the like keep the format of their input. percentile is in (0, 100], used by
/// that method only. With a share, the images are this process's part, which may be empty.
Calibration calibrate(const Network& network, std::span<const float> images, int count, CalibrationMethod method,
                      double percentile = 99.99, const CalibrationShare* share = nullptr);

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

/// quantize(), or what takes its place on a device.
using Quantizer = std::function<QuantizedWeights(std::span<const float> weights, int filters,
                                                 const WeightFormat& format, std::span<const float> minimum_scales)>;

/// Quantizes all weights to `reference` and prepares the input table. Throws Error naming the layer where int32 could
/// overflow.
IntegerNetwork make_integer(Network network, const Calibration& calibration, const WeightFormat& reference,
                            const InputTable& input, const Quantizer& quantizer = quantize);

/// The weights of one layer in another format, checked for overflow like the reference's.
QuantizedWeights quantize_layer(const IntegerNetwork& network, int layer, const WeightFormat& format,
                                const Quantizer& quantizer = quantize);

/// int32 bias and float32 multiplier of every filter of a layer with the given weights.
/// Output integer = clamp(rint(float(sum + bias) * multiplier)), half to even; the last layer's logits are float(sum +
/// bias) * multiplier.
struct Requantization {
  std::vector<std::int32_t> bias;  //!< (filters), at scale activation x weight
  std::vector<float> multiplier;   //!< (filters)
};
Requantization requantization(const IntegerNetwork& network, int layer, const QuantizedWeights& weights);

}  // namespace bitcluster
