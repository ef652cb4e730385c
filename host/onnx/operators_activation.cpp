#include <fmt/format.h>

#include <limits>
#include <utility>

#include "host/onnx/activation.hpp"
#include "host/onnx/affine.hpp"
#include "host/onnx/operators.hpp"

namespace bitcluster {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

ImportedTensor clamp(Importer& importer, const Node& node, float low, float high) {
  if (!(low <= high) || low == infinity || high == -infinity) {
    node.fail(fmt::format("it clips to [{}, {}]", low, high), "its lower bound must not be above its upper bound");
  }
  ImportedTensor& input = importer.make_permuted(importer.tensor(node, 0));
  if (input.integers) {
    low = input.integers->real(low);
    high = input.integers->real(high);
  }
  ImportedTensor result = importer.add_elementwise(node, Function{}, input);
  importer.clamp(result.layer, low, high);
  return result;
}

void relu(Importer& importer, const Node& node) { importer.set(node, 0, clamp(importer, node, 0, infinity)); }

void clip(Importer& importer, const Node& node) {
  float bounds[] = {node.number("min", -infinity), node.number("max", infinity)};
  for (int i = 0; i < 2; ++i) {
    if (!node.has_input(i + 1)) continue;
    const Constant& bound = importer.constant(node, i + 1);
    if (bound.size() != 1) node.fail("a bound is not one number", export_again);
    bounds[i] = bound.number(0);
  }
  importer.set(node, 0, clamp(importer, node, bounds[0], bounds[1]));
}

/// The operators of activation.hpp.
void function(Importer& importer, const Node& node) {
  ImportedTensor& input = importer.make_permuted(importer.tensor(node, 0));
  importer.set(node, 0, importer.add_elementwise(node, *activation_function(node), input));
}

/// One slope is a leaky ReLU. With a slope per channel: max(0, x) + slope * min(0, x).
void parametric_relu(Importer& importer, const Node& node) {
  const Constant& slope = importer.constant(node, 1);
  bool one = slope.size() > 0;
  for (std::size_t i = 1; i < slope.size(); ++i) one = one && slope.number(i) == slope.number(0);
  if (one) {
    ImportedTensor& input = importer.make_permuted(importer.tensor(node, 0));
    const Function leaky{Function::Kind::leaky_relu, slope.number(0)};
    importer.set(node, 0, importer.add_elementwise(node, leaky, input));
    return;
  }
  ImportedTensor positive = clamp(importer, node, 0, infinity), negative = clamp(importer, node, -infinity, 0);
  std::vector<double> slopes;
  for (std::size_t i = 0; i < slope.size(); ++i) slopes.push_back(slope.number(i));
  negative = scale_and_shift(importer, node, negative, slope.dims, slopes, std::vector<double>(slopes.size(), 0));
  importer.set(node, 0, combine(importer, node, Add{}, positive, negative));
}

}  // namespace

OperatorTable activation_operators() {
  OperatorTable operators = {{"Clip", clip}, {"PRelu", parametric_relu}, {"Relu", relu}};
  for (const std::string& name : activation_names()) operators[name] = function;
  return operators;
}

}  // namespace bitcluster
