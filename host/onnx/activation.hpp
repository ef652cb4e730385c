#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/model/network.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// The function that a node applies to every element, with its attributes; none where its operator is another one.
std::optional<Function> activation_function(const Node& node);

/// Operators that are such functions: Sigmoid, Tanh, Elu, ...
std::vector<std::string> activation_names();

}  // namespace bitcluster
