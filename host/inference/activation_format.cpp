#include "host/inference/activation_format.hpp"

namespace bitcluster {

bool keeps_format(const Layer& layer) {
  const auto* pool = std::get_if<Pool>(&layer.operation);
  const auto* function = std::get_if<Function>(&layer.operation);
  return std::holds_alternative<Rearrange>(layer.operation) || (pool && pool->kind == Pool::Kind::max) ||
         (function && function->kind == Function::Kind::identity);
}

void copy_kept_formats(const Network& network, std::vector<ActivationFormat>& formats) {
  for (std::size_t i = 1; i < network.layers.size(); ++i) {
    if (keeps_format(network.layers[i])) formats[i] = formats[network.layers[i].inputs[0]];
  }
}

}  // namespace bitcluster
