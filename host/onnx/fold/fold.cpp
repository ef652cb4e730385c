#include "host/onnx/fold.hpp"

#include <fmt/format.h>

#include <string_view>

#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

const FoldTable& fold_operators() {
  static const FoldTable known = [] {
    FoldTable all;
    for (FoldTable table :
         {elementwise_folds(), axis_folds(), indexed_folds(), product_folds(), quantization_folds(), tensor_folds()}) {
      all.merge(table);
    }
    return all;
  }();
  return known;
}

}  // namespace

std::vector<Constant> fold(const Node& node, const ConstantInput& input, ImportBudget& budget) {
  const auto found = fold_operators().find(node.op());
  if (found == fold_operators().end()) {
    std::vector<std::string_view> names;
    for (const auto& [name, function] : fold_operators()) names.push_back(name);
    node.fail("it works on constants only, with an operator that is not supported there",
              fmt::format("compute these weights before the export; supported are {}", fmt::join(names, ", ")));
  }
  return found->second(Folding{node, input, budget});
}

}  // namespace bitcluster
