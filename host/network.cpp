#include "host/network.hpp"

namespace bitcluster {

std::vector<int> weighted_layers(const Network& network) {
  std::vector<int> indices;
  for (int i = 0; i < int(network.layers.size()); ++i) {
    if (std::holds_alternative<Convolution>(network.layers[i].operation)) indices.push_back(i);
  }
  return indices;
}

std::int64_t multiply_accumulates(const Network& network, int layer) {
  const auto* convolution = std::get_if<Convolution>(&network.layers[layer].operation);
  if (!convolution) return 0;
  const Shape& output = network.layers[layer].output;
  return std::int64_t(convolution->weights.size()) * output.height * output.width;
}

}  // namespace bitcluster
