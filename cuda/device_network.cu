#include <algorithm>
#include <variant>

#include "cuda/device_network.cuh"
#include "host/base/overloaded.hpp"

namespace bitcluster {
namespace {

/// Where every byte of a layer's output comes from, with the padding of pixels on both sides; see look_up().
std::vector<std::int32_t> padded_source(const std::vector<std::int32_t>& source, const Shape& from, int channels) {
  const int stride = pixel_stride(channels);
  std::vector<std::int32_t> padded(source.size() / channels * stride, -1);
  for (std::size_t i = 0; i < source.size(); ++i) {
    const std::int32_t element = source[i];
    if (element < 0) continue;
    padded[i / channels * stride + i % channels] =
        element / from.channels * pixel_stride(from.channels) + element % from.channels;
  }
  return padded;
}

}  // namespace

DeviceNetwork::DeviceNetwork(const IntegerNetwork& network)
    : network_(&network), plans_(network.network.layers.size()), bytes_(network.input_table.size()) {
  for (int index = 0; index <= last(); ++index) {
    const Layer& layer = layers()[index];
    const LayerConstants& constants = plans_[index].constants = layer_constants(*network_, index);
    if (const auto* convolution = std::get_if<Convolution>(&layer.operation)) {
      bytes_ += DeviceConvolution::most_bytes(*convolution, layers()[layer.inputs[0]].output);
    }
    bytes_ += sizeof(float) * (256 + constants.square_table.size() + constants.position_multipliers.size());
    bytes_ += sizeof(std::int32_t) * constants.source.size() * 4;  // pixels may be padded to 4 times their channels
  }
}

void DeviceNetwork::upload(const Stream& stream) {
  input_table_ = DeviceArray<std::int8_t>(network_->input_table.data(), network_->input_table.size(), stream);
  for (int index = 0; index <= last(); ++index) upload_layer(index, stream);
  find_sums();
  stream.wait();
}

void DeviceNetwork::upload_layer(int index, const Stream& stream) {
  const Layer& layer = layers()[index];
  DeviceLayerPlan& plan = plans_[index];
  const LayerConstants& constants = plan.constants;
  const std::vector<float> table = table_of(index);
  plan.table = DeviceArray<float>(table.data(), table.size(), stream);
  if (std::holds_alternative<Convolution>(layer.operation)) {
    plan.convolution.emplace(pack(index, network_->weights[index], stream));
  }
  if (!constants.source.empty()) {
    const std::vector<std::int32_t> source =
        padded_source(constants.source, layers()[layer.inputs[0]].output, layer.output.channels);
    plan.source = DeviceArray<std::int32_t>(source.data(), source.size(), stream);
  }
}

/// DeviceLayerPlan::table; empty where the kernel takes none.
std::vector<float> DeviceNetwork::table_of(int index) const {
  const LayerConstants& constants = plans_[index].constants;
  return std::visit(
      overloaded{[](const OneOf<Input, Convolution, Add, Multiply, Concat> auto&) { return std::vector<float>(); },
                 [&](const Pool&) { return constants.position_multipliers; },
                 [&](const LocalResponseNorm&) { return constants.square_table; },
                 [&](const OneOf<Rearrange, Function> auto&) {
                   std::vector<float> table;
                   for (int byte = 0; byte < 256; ++byte) {
                     const std::uint8_t result = constants.bytes[byte];
                     const int value = network_->formats[index].is_signed ? int(std::int8_t(result)) : result;
                     table.push_back(index == last() ? constants.reals[byte] : float(value));
                   }
                   return table;
                 }},
      layers()[index].operation);
}

/// Sums that the kernel of one of their operands can do as well.
void DeviceNetwork::find_sums() {
  std::vector<int> readers(layers().size());
  for (const Layer& layer : layers()) {
    for (const int input : layer.inputs) ++readers[input];
  }
  for (int index = 0; index < last(); ++index) {
    const Layer& layer = layers()[index];
    if (!std::holds_alternative<Add>(layer.operation) || layer.inputs[0] == layer.inputs[1]) continue;
    // the later operand, so that the other one is there
    const int operand = std::max(layer.inputs[0], layer.inputs[1]);
    if (plans_[operand].convolution && readers[operand] == 1) plans_[operand].sum = index;
  }
}

DeviceConvolution DeviceNetwork::pack(int index, const QuantizedWeights& weights, const Stream& stream) const {
  const Layer& layer = layers()[index];
  return DeviceConvolution(std::get<Convolution>(layer.operation), layers()[layer.inputs[0]].output, weights.values,
                           requantization(*network_, index, weights), stream);
}

std::size_t DeviceNetwork::tensor_bytes(int layer) const {
  const Shape& shape = layers()[layer].output;
  const std::size_t element = layer == last() ? sizeof(float) : 1;
  return element * shape.height * shape.width * pixel_stride(shape.channels);
}

std::size_t DeviceNetwork::peak_bytes(const Pass& pass) const {
  std::vector<int> readers = pass.readers;
  std::size_t now = 0, peak = 0;
  const auto release = [&](int layer) {
    for (const int input : layers()[layer].inputs) {
      if (pass.computes[input] && --readers[input] == 0) now -= tensor_bytes(input);
    }
  };
  walk(pass, [&](int index, int convolution) {
    now += tensor_bytes(index);
    peak = std::max(peak, now);
    if (convolution >= 0) {
      now += tensor_bytes(convolution);  // taken off again with the sum's inputs
      release(convolution);
    }
    release(index);
  });
  return peak;
}

}  // namespace bitcluster
