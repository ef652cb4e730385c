#include "host/onnx/fold.hpp"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string_view>
#include <utility>

#include "host/onnx/rearrange.hpp"

namespace bitcluster {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;
using Proto = onnx::TensorProto;

/// What a folded sub-graph may grow to: shapes and pads are small; weights keep their size.
constexpr std::int64_t fold_limit = std::int64_t(1) << 22;

bool is_float_type(std::int64_t type) {
  return type == Proto::FLOAT || type == Proto::DOUBLE || type == Proto::FLOAT16 || type == Proto::BFLOAT16;
}

/// Evaluates one node on constants.
struct Fold {
  const Node& node;
  const ConstantInput& input;

  const Constant& argument(int index) const {
    const Constant* constant = input(index);
    if (!constant) node.fail(fmt::format("input {} is missing", index), export_again);
    return *constant;
  }

  std::size_t checked_size(const Dims& dims, std::size_t inputs_size) const {
    const std::int64_t count = element_count(dims);
    if (count < 0 || count > std::max(fold_limit, std::int64_t(inputs_size))) {
      node.fail("its constant result is too large", "check the shapes of the model");
    }
    return std::size_t(count);
  }

  /// Element maps that broadcast the given constants to one shape.
  std::vector<ElementMap> broadcast_all(const std::vector<const Constant*>& constants) const {
    Dims dims;
    std::size_t largest = 0;
    for (const Constant* constant : constants) {
      Dims both;
      if (!broadcast_dims(dims, constant->dims, both)) {
        node.fail("the shapes of its inputs do not fit together", export_again);
      }
      dims = both;
      largest = std::max(largest, constant->size());
    }
    checked_size(dims, largest);
    std::vector<ElementMap> maps;
    for (const Constant* constant : constants) {
      maps.push_back({constant->dims, {}});
      broadcast(maps.back(), dims);
    }
    return maps;
  }

  Constant pick(const Constant& from, const ElementMap& map) const {
    Constant result{map.dims, {}, from.type};
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
    return result;
  }

  Constant literal() const {
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

  Constant constant_of_shape() const {
    const Dims dims = integers_of(node, input, 0);
    const std::size_t count = checked_size(dims, 0);
    Constant value = make_constant({}, Floats{0});
    if (const auto* tensor = node.tensor("value")) {
      value = read_constant(*tensor, fmt::format("cannot read the value of node '{}' (ConstantOfShape)", node.name()));
    }
    if (value.size() != 1) node.fail("its value is not one number", export_again);
    Constant result{dims, {}, value.type};
    std::visit([&](const auto& one) { result.values = std::decay_t<decltype(one)>(count, one[0]); }, value.values);
    return result;
  }

  std::int64_t to_integer(float value) const {
    // 2^63: larger ones do not fit
    if (!(std::fabs(value) < 9223372036854775808.0f)) {
      node.fail("a number does not fit into an integer", "check the model");
    }
    return std::int64_t(value);
  }

  Constant cast() const {
    const Constant& from = argument(0);
    const std::int64_t type = node.integer("to", Proto::FLOAT);
    Constant result{from.dims, {}, int(type)};
    const std::size_t count = from.size();
    if (is_float_type(type)) {
      Floats values(count);
      for (std::size_t i = 0; i < count; ++i) values[i] = from.number(i);
      result.values = std::move(values);
    } else {
      Integers values(count);
      for (std::size_t i = 0; i < count; ++i) {
        values[i] = from.is_float() ? type == Proto::BOOL ? from.number(i) != 0 : to_integer(from.number(i))
                                    : std::get<Integers>(from.values)[i];
        if (type == Proto::BOOL) values[i] = values[i] != 0;
      }
      result.values = std::move(values);
    }
    return result;
  }

  float combine(float a, float b) const {
    const std::string& op = node.op();
    if (op == "Add") return a + b;
    if (op == "Sub") return a - b;
    if (op == "Mul") return a * b;
    if (op == "Div") return a / b;
    if (op == "Pow") return std::pow(a, b);
    return op == "Min" ? std::min(a, b) : std::max(a, b);
  }

  std::int64_t combine(std::int64_t a, std::int64_t b) const {
    const std::string& op = node.op();
    std::int64_t result = 0;
    bool overflow = false;
    if (op == "Add") {
      overflow = __builtin_add_overflow(a, b, &result);
    } else if (op == "Sub") {
      overflow = __builtin_sub_overflow(a, b, &result);
    } else if (op == "Mul") {
      overflow = __builtin_mul_overflow(a, b, &result);
    } else if (op == "Div") {
      if (b == 0) node.fail("it divides an integer by 0", "check the model");
      overflow = b == -1 && a == std::numeric_limits<std::int64_t>::min();
      if (!overflow) result = a / b;
    } else if (op == "Pow") {
      return to_integer(std::pow(float(a), float(b)));
    } else {
      result = op == "Min" ? std::min(a, b) : std::max(a, b);
    }
    if (overflow) node.fail("an integer overflows", "check the model");
    return result;
  }

  Constant arithmetic() const {
    const Constant &a = argument(0), &b = argument(1);
    const auto maps = broadcast_all({&a, &b});
    Constant result{maps[0].dims, {}, a.type};
    const auto compute = [&](auto values, const auto& get) {
      values.resize(maps[0].size());
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = combine(get(a, std::size_t(maps[0].at(i))), get(b, std::size_t(maps[1].at(i))));
      }
      result.values = std::move(values);
    };
    if (a.is_float() || b.is_float()) {
      compute(Floats(), [](const Constant& c, std::size_t i) { return c.number(i); });
      result.type = Proto::FLOAT;
    } else {
      compute(Integers(), [](const Constant& c, std::size_t i) { return std::get<Integers>(c.values)[i]; });
    }
    return result;
  }

  Constant compare() const {
    const Constant &a = argument(0), &b = argument(1);
    if (a.is_float() != b.is_float()) node.fail("it compares integers with floats", export_again);
    const auto maps = broadcast_all({&a, &b});
    Integers values(maps[0].size());
    const std::string& op = node.op();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto x = std::size_t(maps[0].at(i)), y = std::size_t(maps[1].at(i));
      std::visit(
          [&](const auto& left) {
            const auto& right = std::get<std::decay_t<decltype(left)>>(b.values);
            values[i] = op == "Equal"  ? left[x] == right[y]
                        : op == "Less" ? left[x] < right[y]
                        : op == "And"  ? left[x] && right[y]
                        : op == "Or"   ? left[x] || right[y]
                                       : left[x] > right[y];
          },
          a.values);
    }
    return {maps[0].dims, std::move(values), Proto::BOOL};
  }

  Constant where() const {
    const Constant &condition = argument(0), &yes = argument(1), &no = argument(2);
    if (yes.is_float() != no.is_float()) node.fail("it chooses between integers and floats", export_again);
    const auto maps = broadcast_all({&condition, &yes, &no});
    Constant result = pick(yes, maps[1]);
    const Constant other = pick(no, maps[2]);
    std::visit(
        [&](auto& values) {
          for (std::size_t i = 0; i < values.size(); ++i) {
            if (condition.number(std::size_t(maps[0].at(i))) == 0) {
              values[i] = std::get<std::decay_t<decltype(values)>>(other.values)[i];
            }
          }
        },
        result.values);
    return result;
  }

  Constant range() const {
    const Constant &start = argument(0), &limit = argument(1), &step = argument(2);
    if (start.size() != 1 || limit.size() != 1 || step.size() != 1) {
      node.fail("its inputs are not single numbers", export_again);
    }
    const double first = start.number(0), delta = step.number(0);
    const double count = std::max(0.0, std::ceil((limit.number(0) - first) / delta));
    if (!(count <= double(fold_limit))) node.fail("its constant result is too large", "check the model");
    Constant result = make_constant({std::int64_t(count)}, Floats());
    Floats numbers;
    Integers integers;
    for (std::int64_t i = 0; i < std::int64_t(count); ++i) {
      if (start.is_float()) {
        numbers.push_back(float(first + delta * double(i)));
      } else {
        integers.push_back(to_integer(float(first + delta * double(i))));
      }
    }
    return start.is_float() ? make_constant(result.dims, numbers) : make_constant(result.dims, integers);
  }

  Constant concat() const {
    const Constant& first = argument(0);
    const int axis = node.axis(node.integer("axis", 0), first.dims.size());
    Dims dims = first.dims;
    dims[std::size_t(axis)] = 0;
    std::int64_t outer = 1, inner = 1;
    std::size_t total = 0;
    for (int i = 0; i < axis; ++i) outer *= dims[std::size_t(i)];
    for (std::size_t i = std::size_t(axis) + 1; i < dims.size(); ++i) inner *= dims[i];
    for (int k = 0; k < node.inputs(); ++k) {
      const Constant& part = argument(k);
      Dims expected = part.dims;
      if (expected.size() == dims.size()) expected[std::size_t(axis)] = first.dims[std::size_t(axis)];
      if (expected != first.dims || part.is_float() != first.is_float()) {
        node.fail("its inputs do not fit together", export_again);
      }
      dims[std::size_t(axis)] += part.dims[std::size_t(axis)];
      total += part.size();
    }
    checked_size(dims, total);
    Constant result{dims, {}, first.type};
    std::visit(
        [&](const auto& model) {
          std::decay_t<decltype(model)> values;
          for (std::int64_t o = 0; o < outer; ++o) {
            for (int k = 0; k < node.inputs(); ++k) {
              const Constant& part = argument(k);
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

  Constant unary() const {
    Constant result = argument(0);
    const std::string& op = node.op();
    if (result.is_float()) {
      for (float& x : std::get<Floats>(result.values)) {
        x = op == "Floor"  ? std::floor(x)
            : op == "Ceil" ? std::ceil(x)
            : op == "Sqrt" ? std::sqrt(x)
            : op == "Neg"  ? -x
                           : float(x == 0);
      }
    } else {
      for (std::int64_t& x : std::get<Integers>(result.values)) {
        if (op == "Sqrt") node.fail("it takes the root of integers", export_again);
        if (op == "Not") x = x == 0;
        if (op == "Neg") x = x == std::numeric_limits<std::int64_t>::min() ? x : -x;
      }
    }
    return result;
  }

  /// Scale (and zero point) of every element of input 0: one, or one per index of the axis.
  ElementMap along_axis(const Constant& values, const Constant& parameter) const {
    ElementMap map{parameter.dims, {}};
    if (parameter.size() == 1) {
      map.dims.clear();
    } else {
      Dims dims(values.dims.size(), 1);
      const int axis = node.axis(node.integer("axis", 1), values.dims.size());
      dims[std::size_t(axis)] = std::int64_t(parameter.size());
      map.dims = dims;
    }
    if (parameter.size() == 0 || !broadcast(map, values.dims)) {
      node.fail("its scale or zero point does not fit its input", export_again);
    }
    return map;
  }

  Constant convert(bool to_integers) const {
    const Constant &from = argument(0), &scale = argument(1);
    const ElementMap scales = along_axis(from, scale);
    const Constant zero = node.has_input(2) ? argument(2) : Constant{{}, Integers{0}, Proto::UINT8};
    const ElementMap zeros = along_axis(from, zero);
    if (zero.type != Proto::UINT8 && zero.type != Proto::INT8 && zero.type != Proto::INT32) {
      node.fail("its zero point is not an 8-bit integer", "quantize to int8 or uint8");
    }
    const float lowest = zero.type == Proto::UINT8 ? 0 : -128, highest = zero.type == Proto::UINT8 ? 255 : 127;
    Floats numbers(from.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const float s = scale.number(std::size_t(scales.at(i))), z = zero.number(std::size_t(zeros.at(i)));
      const float x = from.number(i);
      numbers[i] = to_integers ? std::clamp(std::nearbyint(x / s) + z, lowest, highest) : (x - z) * s;
    }
    if (!to_integers) return make_constant(from.dims, std::move(numbers));
    Integers integers(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) integers[i] = to_integer(numbers[i]);
    return {from.dims, std::move(integers), zero.type};
  }

  Constant quantize() const { return convert(true); }
  Constant dequantize() const { return convert(false); }

  Constant shape() const {
    const Dims& dims = argument(0).dims;
    return make_constant({std::int64_t(dims.size())}, Integers(dims));
  }

  Constant move() const {
    const Constant& from = argument(0);
    const auto limit = std::max(fold_limit, std::int64_t(from.size()));
    const auto maps = rearrange(node, {from.dims, {}}, input, BatchAxis{}, limit);
    if (maps.size() != 1) node.fail("it splits a constant", "split the weights before the export");
    return pick(from, maps[0]);
  }
};

using FoldOperator = Constant (Fold::*)() const;

const std::map<std::string, FoldOperator>& fold_operators() {
  static const std::map<std::string, FoldOperator> operators = [] {
    std::map<std::string, FoldOperator> known = {{"Cast", &Fold::cast},
                                                 {"Concat", &Fold::concat},
                                                 {"Constant", &Fold::literal},
                                                 {"ConstantOfShape", &Fold::constant_of_shape},
                                                 {"DequantizeLinear", &Fold::dequantize},
                                                 {"QuantizeLinear", &Fold::quantize},
                                                 {"Range", &Fold::range},
                                                 {"Shape", &Fold::shape},
                                                 {"Where", &Fold::where}};
    for (const char* op : {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max"}) known[op] = &Fold::arithmetic;
    for (const char* op : {"Equal", "Less", "Greater", "And", "Or"}) known[op] = &Fold::compare;
    for (const char* op : {"Floor", "Ceil", "Sqrt", "Neg", "Not"}) known[op] = &Fold::unary;
    for (const std::string& op : rearrangement_operators()) known[op] = &Fold::move;
    return known;
  }();
  return operators;
}

}  // namespace

Constant fold(const Node& node, const ConstantInput& input) {
  const auto found = fold_operators().find(node.op());
  if (found == fold_operators().end()) {
    std::vector<std::string_view> names;
    for (const auto& [name, function] : fold_operators()) names.push_back(name);
    node.fail("it works on constants only, with an operator that is not supported there",
              fmt::format("supported are {}", fmt::join(names, ", ")));
  }
  return (Fold{node, input}.*found->second)();
}

}  // namespace bitcluster
