#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "host/onnx/element_type.hpp"
#include "host/onnx/fold/folding.hpp"
#include "host/onnx/rearrange.hpp"

namespace bitcluster {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;

Constant literal(const Folding& folding) {
  const Node& node = folding.node;
  const std::string what = fmt::format("cannot read the value of node '{}' (Constant)", node.name());
  if (const auto* tensor = node.tensor("value")) return read_constant(*tensor, what);
  if (node.has("value_float")) return make_constant({}, Floats{node.number("value_float", 0)});
  if (node.has("value_int")) return make_constant({}, Integers{node.integer("value_int", 0)});
  if (node.has("value_floats")) {
    Floats values = node.numbers("value_floats");
    return make_constant({std::int64_t(values.size())}, std::move(values));
  }
  if (node.has("value_ints")) {
    Integers values = node.integers("value_ints", {});
    return make_constant({std::int64_t(values.size())}, std::move(values));
  }
  node.fail("it has no dense number as value", "use value, value_float(s) or value_int(s)");
}

Constant constant_of_shape(const Folding& folding) {
  const Node& node = folding.node;
  const Dims dims = integers_of(node, folding.input, 0);
  const std::size_t count = folding.checked_size(dims);
  Constant value = make_constant({}, Floats{0});
  if (const auto* tensor = node.tensor("value")) {
    value = read_constant(*tensor, fmt::format("cannot read the value of node '{}' (ConstantOfShape)", node.name()));
  }
  if (value.size() != 1) node.fail("its value is not one number", export_again);
  Constant result{dims, {}, value.type};
  std::visit([&](const auto& one) { result.values = std::decay_t<decltype(one)>(count, one[0]); }, value.values);
  return result;
}

Constant range(const Folding& folding) {
  const Constant &start = folding.argument(0), &limit = folding.argument(1), &step = folding.argument(2);
  if (start.size() != 1 || limit.size() != 1 || step.size() != 1) {
    folding.node.fail("its inputs are not single numbers", export_again);
  }
  const double first = start.number(0), delta = step.number(0);
  const double count = std::max(0.0, std::ceil((limit.number(0) - first) / delta));
  if (!(count <= double(max_elements))) folding.node.fail("it has no end", "check the model");
  std::vector<double> numbers(folding.checked_size({std::int64_t(count)}));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = first + delta * double(i);
  return folding.of_type({std::int64_t(count)}, numbers, start.type);
}

Constant shape(const Folding& folding) {
  const Dims& dims = folding.argument(0).dims;
  const auto [first, last] = shape_part(folding.node, dims.size());
  return make_constant({std::int64_t(last - first)}, Integers(dims.begin() + first, dims.begin() + last));
}

Constant size(const Folding& folding) { return make_constant({}, Integers{std::int64_t(folding.argument(0).size())}); }

Constant concat(const Folding& folding) {
  const Node& node = folding.node;
  const Constant& first = folding.argument(0);
  const int axis = node.axis(node.integer("axis", 0), first.dims.size());
  Dims dims = first.dims;
  dims[std::size_t(axis)] = 0;
  std::int64_t outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= dims[std::size_t(i)];
  for (std::size_t i = std::size_t(axis) + 1; i < dims.size(); ++i) inner *= dims[i];
  for (int k = 0; k < node.inputs(); ++k) {
    const Constant& part = folding.argument(k);
    Dims expected = part.dims;
    if (expected.size() == dims.size()) expected[std::size_t(axis)] = first.dims[std::size_t(axis)];
    if (expected != first.dims || part.is_float() != first.is_float()) {
      node.fail("its inputs do not fit together", export_again);
    }
    dims[std::size_t(axis)] += part.dims[std::size_t(axis)];
  }
  folding.checked_size(dims);
  Constant result{dims, {}, first.type};
  std::visit(
      [&](const auto& model) {
        std::decay_t<decltype(model)> values;
        for (std::int64_t o = 0; o < outer; ++o) {
          for (int k = 0; k < node.inputs(); ++k) {
            const Constant& part = folding.argument(k);
            const auto& from = std::get<std::decay_t<decltype(model)>>(part.values);
            const std::int64_t run = part.dims[std::size_t(axis)] * inner;
            values.insert(values.end(), from.begin() + o * run, from.begin() + (o + 1) * run);
          }
        }
        result.values = std::move(values);
      },
      first.values);
  return result;
}

/// In evaluation mode all elements pass.
std::vector<Constant> dropout(const Folding& folding) {
  if (folding.number(2, 0) != 0 && folding.number(1, 0.5) != 0) {
    folding.node.fail("it is in training mode", "export the model in evaluation mode");
  }
  const Dims& dims = folding.argument(0).dims;
  folding.checked_size(dims);
  std::vector<Constant> results = {folding.argument(0)};
  if (!folding.node.output(1).empty()) {
    results.push_back({dims, Integers(results[0].size(), 1), onnx::TensorProto::BOOL});
  }
  return results;
}

/// The operators of rearrange.hpp.
std::vector<Constant> move_elements(const Folding& folding) {
  const Constant& from = folding.argument(0);
  const std::int64_t limit = std::max(folding.budget.available(), std::int64_t(from.size()));
  std::vector<Constant> results;
  for (const ElementMap& map : rearrange(folding.node, {from.dims, {}}, folding.input, BatchAxis{}, limit)) {
    Constant& result = results.emplace_back(Constant{map.dims, {}, from.type});
    std::visit(
        [&](const auto& values) {
          std::decay_t<decltype(values)> picked(map.size());
          for (std::size_t i = 0; i < picked.size(); ++i) {
            const std::int32_t source = map.at(i);
            if (source >= 0) picked[i] = values[std::size_t(source)];
          }
          result.values = std::move(picked);
        },
        from.values);
  }
  return results;
}

}  // namespace

FoldTable tensor_folds() {
  FoldTable table = {{"Concat", one<concat>}, {"Constant", one<literal>}, {"ConstantOfShape", one<constant_of_shape>},
                     {"Dropout", dropout},    {"Range", one<range>},      {"Shape", one<shape>},
                     {"Size", one<size>}};
  for (const std::string& op : rearrangement_operators()) table[op] = move_elements;
  return table;
}

}  // namespace bitcluster
