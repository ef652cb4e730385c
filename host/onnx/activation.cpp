#include "host/onnx/activation.hpp"

#include <fmt/format.h>

#include <map>

namespace bitcluster {
namespace {

using Kind = Function::Kind;

template <Kind kind>
Function plain(const Node&) {
  return {kind};
}

Function celu(const Node& node) {
  const float alpha = node.number("alpha", 1);
  if (!(alpha != 0)) node.fail("its alpha is 0", "check the model");
  return {Kind::celu, alpha};
}

Function gelu(const Node& node) {
  const std::string approximate = node.text("approximate", "none");
  if (approximate != "none") {
    node.fail(fmt::format("its approximate is '{}'", approximate), "export it with approximate = 'none'");
  }
  return {Kind::gelu, 0.5f};
}

/// Defaults are those of ONNX.
const std::map<std::string, Function (*)(const Node&)>& functions() {
  static const std::map<std::string, Function (*)(const Node&)> known = {
      {"Abs", plain<Kind::absolute>},
      {"Ceil", plain<Kind::ceil>},
      {"Celu", celu},
      {"Elu",
       [](const Node& node) {
         return Function{Kind::elu, node.number("alpha", 1)};
       }},
      {"Erf", plain<Kind::erf>},
      {"Floor", plain<Kind::floor>},
      {"Gelu", gelu},
      {"HardSigmoid",
       [](const Node& node) {
         return Function{Kind::hard_sigmoid, node.number("alpha", 0.2f), node.number("beta", 0.5f)};
       }},
      {"HardSwish", plain<Kind::hard_swish>},
      {"LeakyRelu",
       [](const Node& node) {
         return Function{Kind::leaky_relu, node.number("alpha", 0.01f)};
       }},
      {"Mish", plain<Kind::mish>},
      {"Round", plain<Kind::round>},
      {"Selu",
       [](const Node& node) {
         return Function{Kind::selu, node.number("alpha", 1.67326319217681884765625f),
                         node.number("gamma", 1.05070102214813232421875f)};
       }},
      {"Sigmoid", plain<Kind::sigmoid>},
      {"Sign", plain<Kind::sign>},
      {"Softplus", plain<Kind::softplus>},
      {"Softsign", plain<Kind::softsign>},
      {"Tanh", plain<Kind::tanh>},
      {"ThresholdedRelu", [](const Node& node) {
         return Function{Kind::threshold, node.number("alpha", 1)};
       }}};
  return known;
}

}  // namespace

std::optional<Function> activation_function(const Node& node) {
  const auto found = functions().find(node.op());
  if (found == functions().end()) return std::nullopt;
  return found->second(node);
}

std::vector<std::string> activation_names() {
  std::vector<std::string> names;
  for (const auto& [name, function] : functions()) names.push_back(name);
  return names;
}

}  // namespace bitcluster
