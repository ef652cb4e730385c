#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cuda/convolution.cuh"
#include "host/inference/computed_layers.hpp"
#include "host/inference/layer_constants.hpp"

namespace bitcluster {

/// What evaluation needs to know of one layer beside the network itself.
struct DeviceLayerPlan {
  LayerConstants constants;
  std::optional<DeviceConvolution> convolution;  //!< with the reference weights
  DeviceArray<float> table;                      //!< look_up, normalize, pool_average: see there
  DeviceArray<std::int32_t> source;              //!< look_up
  int sum = -1;                                  //!< convolution: the Add that its kernel can do as well, see walk()
};

/// A network as a GPU has it: its weights and tables, and the order in which kernels do its layers. The network must
/// outlive it.
class DeviceNetwork {
 public:
  /// Takes no device memory yet.
  explicit DeviceNetwork(const IntegerNetwork& network);

  /// Weights and tables of the network. Blocking.
  void upload(const Stream& stream);

  std::size_t bytes() const { return bytes_; }  //!< of device memory that upload() takes at most
  const IntegerNetwork& network() const { return *network_; }
  const std::vector<Layer>& layers() const { return network_->network.layers; }
  int last() const { return int(layers().size()) - 1; }
  const DeviceLayerPlan& plan(int layer) const { return plans_[layer]; }
  const std::int8_t* input_table() const { return input_table_.data(); }

  /// Weights of a layer in place of the network's.
  DeviceConvolution pack(int layer, const QuantizedWeights& weights, const Stream& stream) const;

  /// Of the output of one image.
  std::size_t tensor_bytes(int layer) const;

  /// Calls step(layer, convolution that the layer's kernel does as well or -1) for what the pass computes, in order. A
  /// convolution whose only reader is a sum is done by the kernel of the sum.
  template <class Step>
  void walk(const Pass& pass, const Step& step) const {
    std::vector<int> fused(layers().size(), -1);
    for (int index = 0; index <= last(); ++index) {
      if (!pass.computes[index]) continue;
      const int sum = plans_[index].sum;
      if (sum >= 0 && pass.computes[sum] && pass.readers[index] == 1) {
        fused[sum] = index;
        continue;
      }
      step(index, fused[index]);
    }
  }

  /// Device memory that the tensors of one image take while the pass runs, those that stay included.
  std::size_t peak_bytes(const Pass& pass) const;

 private:
  std::vector<float> table_of(int layer) const;
  void upload_layer(int layer, const Stream& stream);
  void find_sums();

  const IntegerNetwork* network_;
  std::vector<DeviceLayerPlan> plans_;
  DeviceArray<std::int8_t> input_table_;
  std::size_t bytes_ = 0;
};

}  // namespace bitcluster
