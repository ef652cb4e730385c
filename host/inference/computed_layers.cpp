#include "host/inference/computed_layers.hpp"

#include <fmt/core.h>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

Pass empty_pass(const Network& network) {
  return {std::vector<char>(network.layers.size()), std::vector<int>(network.layers.size())};
}

/// Adds whatever the layers of the pass read.
void add_ancestors(const Network& network, Pass& pass) {
  for (std::size_t index = network.layers.size(); index-- > 0;) {
    if (!pass.computes[index]) continue;
    for (const int input : network.layers[index].inputs) pass.computes[input] = true;
  }
}

void count_readers(const Network& network, Pass& pass) {
  for (std::size_t index = 0; index < network.layers.size(); ++index) {
    if (!pass.computes[index]) continue;
    for (const int input : network.layers[index].inputs) ++pass.readers[input];
  }
}

/// Adds a layer whose tensor is wanted behind the pass.
void keep(Pass& pass, int index) {
  pass.readers[index] += !pass.computes[index];
  pass.computes[index] = true;
}

}  // namespace

Pass variant_pass(const Network& network, const Variant& variant) {
  const int last = int(network.layers.size()) - 1;
  Pass pass = empty_pass(network);
  for (const WeightChange& change : variant) {
    if (change.layer < 0 || change.layer > last ||
        !std::holds_alternative<Convolution>(network.layers[change.layer].operation) || !change.weights) {
      throw Error(fmt::format("cannot change the weights of layer {}", change.layer),
                  change.weights ? "it is no layer with weights" : "no weights are given",
                  "use an index that weighted_layers() gives, and weights of quantize_layer()");
    }
    pass.computes[change.layer] = true;
  }
  for (int index = 0; index <= last; ++index) {
    for (const int input : network.layers[index].inputs) pass.computes[index] |= pass.computes[input];
  }
  std::vector<char> matters(network.layers.size());
  matters[last] = true;
  for (int index = last; index >= 0; --index) {
    pass.computes[index] = pass.computes[index] && matters[index];
    if (!matters[index]) continue;
    for (const int input : network.layers[index].inputs) matters[input] = true;
  }
  count_readers(network, pass);
  return pass;
}

Pass reference_pass(const Network& network, std::span<const Pass> variants) {
  const int last = int(network.layers.size()) - 1;
  Pass pass = empty_pass(network);
  for (const Pass& variant : variants) {
    if (!variant.computes[last]) keep(pass, last);
    for (int index = 0; index <= last; ++index) {
      if (!variant.computes[index]) continue;
      for (const int input : network.layers[index].inputs) {
        if (!variant.computes[input]) keep(pass, input);
      }
    }
  }
  add_ancestors(network, pass);
  count_readers(network, pass);
  return pass;
}

Pass inputs_pass(const Network& network) {
  Pass pass = empty_pass(network);
  for (const int layer : weighted_layers(network)) keep(pass, network.layers[layer].inputs[0]);
  add_ancestors(network, pass);
  count_readers(network, pass);
  return pass;
}

}  // namespace bitcluster
