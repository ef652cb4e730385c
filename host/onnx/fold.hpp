#pragma once

#include <vector>

#include "host/onnx/constant.hpp"
#include "host/onnx/import_budget.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// Results of a node whose inputs are all constant, one per output. Error for bad arguments, for an operator that is
/// not known, and for what is beyond the budget, before it is allocated or computed.
std::vector<Constant> fold(const Node& node, const ConstantInput& input, ImportBudget& budget);

}  // namespace bitcluster
