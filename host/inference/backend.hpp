#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/inference/integer_network.hpp"

namespace bitcluster {

/// Images as bytes, (count, h, w, c), channels in the order the network wants.
struct ImageBatch {
  const std::uint8_t* pixels = nullptr;
  int count = 0;
};

/// Other weights for one layer.
struct WeightChange {
  int layer = 0;  //!< index into Network::layers
  std::shared_ptr<const QuantizedWeights> weights;
};

/// Changes against the reference weights of the loaded network, at most one per layer. Empty means the reference
/// itself.
using Variant = std::vector<WeightChange>;

/// Sees the integer input of every layer with weights, one image at a time: layer, values in (c, h, w) order.
using InputObserver = std::function<void(int image, int layer, std::span<const std::int16_t> values)>;

/// Evaluates integer networks. Every backend gives the same bits. All calls are blocking.
class Backend {
 public:
  virtual ~Backend() = default;

  /// What does the work, for progress and provenance: "cpu (avx512-vnni, 2 threads)".
  virtual std::string description() const = 0;

  /// Makes `network` the one that the other calls use; it must outlive them.
  virtual void load(const IntegerNetwork& network) = 0;

  /// Whether hold() ever keeps anything.
  virtual bool can_hold() const = 0;

  /// Keeps a copy of these pixels where the backend works, if there is room, for evaluate() calls on any part of them.
  /// They must stay as they are until the next hold(); an empty one lets go.
  virtual void hold(std::span<const std::uint8_t> pixels) = 0;

  /// Logits of every variant, (variants, count, classes). What a variant does not change is computed once and shared:
  /// activations before its first changed layer are never recomputed.
  virtual void evaluate(ImageBatch images, std::span<const Variant> variants, std::span<float> logits) = 0;

  /// Runs one variant and shows the integer inputs of its layers with weights, in image order, then layer order.
  virtual void observe_inputs(ImageBatch images, const Variant& variant, const InputObserver& observer) = 0;

  /// quantize() where this backend computes; needs no network.
  virtual QuantizedWeights quantize(std::span<const float> weights, int filters, const WeightFormat& format,
                                    std::span<const float> minimum_scales) = 0;
};

/// Holds images as long as it lives.
class HeldImages {
 public:
  HeldImages(Backend& backend, std::span<const std::uint8_t> pixels) : backend_(backend) { backend_.hold(pixels); }
  ~HeldImages() { backend_.hold({}); }
  HeldImages(const HeldImages&) = delete;

 private:
  Backend& backend_;
};

/// The backend's quantize() for make_integer() and quantize_layer(); the backend must outlive it.
inline Quantizer quantizer_of(Backend& backend) { return std::bind_front(&Backend::quantize, &backend); }

}  // namespace bitcluster
