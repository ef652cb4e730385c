#include "host/inference/activation_format.hpp"

#include <variant>

#include "host/base/overloaded.hpp"

namespace bitcluster {

bool keeps_format(const Layer& layer) {
  return std::visit(
      overloaded{[](const OneOf<Input, Convolution, Add, Multiply, Concat, LocalResponseNorm> auto&) { return false; },
                 [](const Pool& pool) { return pool.kind == Pool::Kind::max; }, [](const Rearrange&) { return true; },
                 [](const Function& function) { return function.kind == Function::Kind::identity; }},
      layer.operation);
}

void copy_kept_formats(const Network& network, std::vector<ActivationFormat>& formats) {
  for (std::size_t i = 1; i < network.layers.size(); ++i) {
    if (keeps_format(network.layers[i])) formats[i] = formats[network.layers[i].inputs[0]];
  }
}

}  // namespace bitcluster
