#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "host/model/network.hpp"

namespace bitcluster {

/// Sees the output of every layer of one image, in order: layer index, values in (h, w, c) order. May be called from
/// several threads at once for different images.
using ActivationObserver = std::function<void(int image, int layer, std::span<const float> values)>;

/// Float32 inference, the reference that quantization is measured against. Sums run in a fixed order, so the logits do
/// not depend on the number of threads.
class FloatNetwork {
 public:
  /// Prepares the weights for the kernels. The network must outlive it.
  explicit FloatNetwork(const Network& network);
  ~FloatNetwork();

  /// images: (count, h, w, c) after preprocessing. Returns logits (count, classes).
  std::vector<float> run(std::span<const float> images, int count, const ActivationObserver& observer = {}) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// FloatNetwork::run() once.
std::vector<float> run_float(const Network& network, std::span<const float> images, int count);

}  // namespace bitcluster
