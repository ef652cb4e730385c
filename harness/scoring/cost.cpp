#include "harness/scoring/cost.hpp"

#include <algorithm>
#include <variant>
#include <vector>

#include "host/inference/computed_layers.hpp"

namespace bitcluster {
namespace {

/// What preparing a weight for the kernels costs, about: 1.5 ns (AlexNet and VGG-16, measured by --plan) at 50 products
/// per ns (AVX2, measured likewise) are 80, at five times as many (AVX-512 VNNI) 400.
constexpr double products_per_weight = 200;

/// What an output of a layer costs beside its products, about: MobileNetV2 (0.3 G products, 6.7 M outputs) takes 2.7 ms
/// where VGG-16 would do 0.9 G products (--plan, AVX-512 VNNI).
constexpr double products_per_output = 75;

/// A product in float32 takes about as long as this many in integers: 2 to 4 (--plan of VGG-16, ResNet-50 and
/// MobileNetV2, AVX2 and AVX-512 VNNI).
constexpr double float_products = 3;

}  // namespace

VariantCost variant_cost(const Network& network, const Variant& variant) {
  const Pass own = variant_pass(network, variant), shared = reference_pass(network, std::span(&own, 1));
  VariantCost cost{1, 0};  // so that nothing is free
  for (const WeightChange& change : variant) cost.tile += products_per_weight * double(change.weights->values.size());
  std::vector<double> of_layers;
  for (const Layer& layer : network.layers) {
    const bool is_input = std::holds_alternative<Input>(layer.operation);
    of_layers.push_back(is_input ? 0 : products_per_output * double(layer.output.size()));
  }
  for (const int layer : weighted_layers(network)) of_layers[layer] += double(multiply_accumulates(network, layer));
  for (std::size_t layer = 0; layer < of_layers.size(); ++layer) {
    if (own.computes[layer]) cost.own += of_layers[layer];
    if (shared.computes[layer]) cost.shared += of_layers[layer];
  }
  return cost;
}

VariantCost float_cost(const Network& network) {
  VariantCost cost = variant_cost(network, {});
  cost.shared *= float_products;
  for (const int layer : weighted_layers(network)) {
    const auto& convolution = std::get<Convolution>(network.layers[layer].operation);
    cost.tile += products_per_weight * double(convolution.weights.size());
  }
  return cost;
}

double cost_of(std::span<const VariantCost> costs, std::span<const int> variants) {
  double own = 0, shared = 0;
  for (const int variant : variants) {
    own += costs[variant].own;
    shared = std::max(shared, costs[variant].shared);
  }
  return own + shared;
}

}  // namespace bitcluster
