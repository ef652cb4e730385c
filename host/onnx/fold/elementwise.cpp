#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/model/function.hpp"
#include "host/onnx/activation.hpp"
#include "host/onnx/element_type.hpp"
#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;
using Proto = onnx::TensorProto;

const Integers& integers_in(const Constant& constant) { return std::get<Integers>(constant.values); }

void round_all(Constant& constant) {
  if (constant.type != Proto::FLOAT16 && constant.type != Proto::BFLOAT16) return;
  for (float& value : std::get<Floats>(constant.values)) value = round_to_type(value, constant.type);
}

// ---- one input

using UnaryFunction = float (*)(float);

const std::map<std::string, UnaryFunction>& unary_functions() {
  static const std::map<std::string, UnaryFunction> known = {{"Acos", [](float x) { return std::acos(x); }},
                                                             {"Acosh", [](float x) { return std::acosh(x); }},
                                                             {"Asin", [](float x) { return std::asin(x); }},
                                                             {"Asinh", [](float x) { return std::asinh(x); }},
                                                             {"Atan", [](float x) { return std::atan(x); }},
                                                             {"Atanh", [](float x) { return std::atanh(x); }},
                                                             {"Cos", [](float x) { return std::cos(x); }},
                                                             {"Cosh", [](float x) { return std::cosh(x); }},
                                                             {"Exp", [](float x) { return std::exp(x); }},
                                                             {"Log", [](float x) { return std::log(x); }},
                                                             {"Neg", [](float x) { return -x; }},
                                                             {"Reciprocal", [](float x) { return 1 / x; }},
                                                             {"Relu", [](float x) { return x < 0 ? 0 : x; }},
                                                             {"Sin", [](float x) { return std::sin(x); }},
                                                             {"Sinh", [](float x) { return std::sinh(x); }},
                                                             {"Sqrt", [](float x) { return std::sqrt(x); }},
                                                             {"Tan", [](float x) { return std::tan(x); }}};
  return known;
}

/// The lowest integer has no counterpart and stays.
std::int64_t negative(std::int64_t x) { return x == std::numeric_limits<std::int64_t>::min() ? x : -x; }

using UnaryOfIntegers = std::int64_t (*)(std::int64_t);

const std::map<std::string, UnaryOfIntegers>& unary_of_integers() {
  static const std::map<std::string, UnaryOfIntegers> known = {
      {"Abs", [](std::int64_t x) { return x < 0 ? negative(x) : x; }},
      {"Neg", negative},
      {"Not", [](std::int64_t x) { return std::int64_t(x == 0); }},
      {"Relu", [](std::int64_t x) { return std::max<std::int64_t>(x, 0); }},
      {"Sign", [](std::int64_t x) { return std::int64_t((x > 0) - (x < 0)); }}};
  return known;
}

Constant unary(const Folding& folding) {
  folding.checked_size(folding.argument(0).dims);
  Constant result = folding.argument(0);
  const std::string& op = folding.node.op();
  if (!result.is_float()) {
    const auto found = unary_of_integers().find(op);
    if (found == unary_of_integers().end()) {
      folding.node.fail("it works on integers", "this operator is defined for numbers of a float type");
    }
    for (auto& x : std::get<Integers>(result.values)) x = wrap_to_type(found->second(x), result.type);
    return result;
  }
  Floats& values = std::get<Floats>(result.values);
  const auto found = unary_functions().find(op);
  if (found != unary_functions().end()) {
    for (float& x : values) x = found->second(x);
  } else if (const auto function = activation_function(folding.node)) {
    for (float& x : values) x = apply(*function, x);
  } else {
    folding.node.fail("it works on numbers of a float type", "this operator is defined for integers and bool");
  }
  round_all(result);
  return result;
}

Constant is_nan(const Folding& folding) {
  const Constant& from = folding.argument(0);
  Integers values(folding.checked_size(from.dims));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::isnan(from.number(i));
  return {from.dims, std::move(values), Proto::BOOL};
}

Constant clip(const Folding& folding) {
  folding.checked_size(folding.argument(0).dims);
  Constant result = folding.argument(0);
  if (result.is_float()) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const auto low = float(folding.number(1, folding.node.number("min", -infinity)));
    const auto high = float(folding.number(2, folding.node.number("max", infinity)));
    // the upper bound wins where they cross, as in the definition
    for (float& x : std::get<Floats>(result.values)) x = std::min(std::max(x, low), high);
    return result;
  }
  const auto bound = [&](int index, std::int64_t otherwise) {
    if (!folding.node.has_input(index)) return otherwise;
    const Constant& found = folding.argument(index);
    if (found.is_float() || found.size() != 1) folding.node.fail("a bound is not one integer", export_again);
    return integers_in(found)[0];
  };
  const auto [lowest, highest] = integer_range(result.type);
  const std::int64_t low = bound(1, lowest), high = bound(2, highest);
  for (auto& x : std::get<Integers>(result.values)) x = std::min(std::max(x, low), high);
  return result;
}

Constant cast_to(const Folding& folding, std::int64_t type) {
  const Constant& from = folding.argument(0);
  Constant result{from.dims, {}, int(type)};
  const std::size_t count = folding.checked_size(from.dims);
  if (is_float_type(type)) {
    Floats values(count);
    for (std::size_t i = 0; i < count; ++i) values[i] = from.number(i);
    result.values = std::move(values);
    round_all(result);
    return result;
  }
  const auto [lowest, highest] = integer_range(type);
  if (lowest > highest) folding.node.fail("it casts to a type that is not a number", "use floats, integers or bool");
  Integers values(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (!from.is_float()) {
      values[i] = wrap_to_type(integers_in(from)[i], type);
    } else if (type == Proto::BOOL) {
      values[i] = from.number(i) != 0;
    } else {
      values[i] = folding.to_integer(from.number(i));
      if (values[i] < lowest || values[i] > highest) {
        folding.node.fail(fmt::format("{} does not fit the integer type that it casts to", from.number(i)),
                          "clip the numbers before the cast");
      }
    }
  }
  result.values = std::move(values);
  return result;
}

Constant cast(const Folding& folding) { return cast_to(folding, folding.node.integer("to", Proto::FLOAT)); }

Constant cast_like(const Folding& folding) { return cast_to(folding, folding.argument(1).type); }

// ---- several inputs

using BinaryFunction = float (*)(float, float);

const std::map<std::string, BinaryFunction>& binary_functions() {
  static const std::map<std::string, BinaryFunction> known = {
      {"Add", [](float a, float b) { return a + b; }},
      {"Div", [](float a, float b) { return a / b; }},
      {"Max", [](float a, float b) { return std::max(a, b); }},
      {"Mean", [](float a, float b) { return a + b; }},  // mean() divides
      {"Min", [](float a, float b) { return std::min(a, b); }},
      {"Mod", [](float a, float b) { return std::fmod(a, b); }},
      {"Mul", [](float a, float b) { return a * b; }},
      {"PRelu", [](float a, float b) { return a < 0 ? a * b : a; }},
      {"Sub", [](float a, float b) { return a - b; }},
      {"Sum", [](float a, float b) { return a + b; }}};
  return known;
}

std::int64_t combine(const Folding& folding, std::int64_t a, std::int64_t b) {
  const std::string& op = folding.node.op();
  std::int64_t result = 0;
  bool overflow = false;
  if (op == "Add" || op == "Sum") {
    overflow = __builtin_add_overflow(a, b, &result);
  } else if (op == "Sub") {
    overflow = __builtin_sub_overflow(a, b, &result);
  } else if (op == "Mul") {
    overflow = __builtin_mul_overflow(a, b, &result);
  } else if (op == "Div" || op == "Mod") {
    if (b == 0) folding.node.fail("it divides an integer by 0", "check the model");
    overflow = b == -1 && a == std::numeric_limits<std::int64_t>::min();
    if (!overflow) result = op == "Div" ? a / b : a % b;
    // the sign of the divisor, or with fmod that of the dividend
    const bool of_divisor = op == "Mod" && folding.node.integer("fmod", 0) == 0;
    if (of_divisor && result != 0 && (result < 0) != (b < 0)) result += b;
  } else if (op == "Min" || op == "Max") {
    result = op == "Min" ? std::min(a, b) : std::max(a, b);
  } else {
    folding.node.fail("it works on integers", "this operator is supported for numbers of a float type");
  }
  if (overflow) folding.node.fail("an integer overflows", "check the model");
  return result;
}

Constant combine(const Folding& folding, const Constant& a, const Constant& b) {
  const Broadcast both(folding, {&a, &b});
  Constant result{both.dims(), {}, a.is_float() ? a.type : b.type};
  if (a.is_float() || b.is_float()) {
    const BinaryFunction function = binary_functions().at(folding.node.op());
    Floats values(both.size());
    both.for_each([&](std::size_t i, const auto& at) { values[i] = function(a.number(at[0]), b.number(at[1])); });
    result.values = std::move(values);
    round_all(result);
  } else {
    Integers values(both.size());
    both.for_each([&](std::size_t i, const auto& at) {
      values[i] = wrap_to_type(combine(folding, integers_in(a)[at[0]], integers_in(b)[at[1]]), result.type);
    });
    result.values = std::move(values);
  }
  return result;
}

/// Two inputs, or any number of Max, Mean, Min and Sum.
Constant arithmetic(const Folding& folding) {
  Constant result = folding.argument(0);
  for (int i = 1; i < folding.node.inputs(); ++i) result = combine(folding, result, folding.argument(i));
  return result;
}

Constant mean(const Folding& folding) {
  Constant result = arithmetic(folding);
  if (!result.is_float()) folding.node.fail("it works on integers", "it is defined for numbers of a float type");
  for (float& value : std::get<Floats>(result.values)) value /= float(folding.node.inputs());
  round_all(result);
  return result;
}

/// The result has the type of the base.
Constant power(const Folding& folding) {
  const Constant &base = folding.argument(0), &exponent = folding.argument(1);
  const Broadcast both(folding, {&base, &exponent});
  std::vector<double> numbers(both.size());
  const auto number = [](const Constant& constant, std::size_t i) {
    return constant.is_float() ? double(constant.number(i)) : double(integers_in(constant)[i]);
  };
  both.for_each(
      [&](std::size_t i, const auto& at) { numbers[i] = std::pow(number(base, at[0]), number(exponent, at[1])); });
  return folding.of_type(both.dims(), numbers, base.type);
}

template <class Number>
bool holds(const std::string& op, Number a, Number b) {
  if (op == "And") return a && b;
  if (op == "Equal") return a == b;
  if (op == "Greater") return a > b;
  if (op == "GreaterOrEqual") return a >= b;
  if (op == "Less") return a < b;
  if (op == "LessOrEqual") return a <= b;
  if (op == "Or") return a || b;
  return bool(a) != bool(b);  // Xor
}

Constant compare(const Folding& folding) {
  const Constant &a = folding.argument(0), &b = folding.argument(1);
  if (a.is_float() != b.is_float()) folding.node.fail("it compares integers with floats", export_again);
  const Broadcast both(folding, {&a, &b});
  Integers values(both.size());
  const std::string& op = folding.node.op();
  std::visit(
      [&](const auto& left) {
        const auto& right = std::get<std::decay_t<decltype(left)>>(b.values);
        both.for_each([&](std::size_t i, const auto& at) { values[i] = holds(op, left[at[0]], right[at[1]]); });
      },
      a.values);
  return {both.dims(), std::move(values), Proto::BOOL};
}

Constant where(const Folding& folding) {
  const Constant &condition = folding.argument(0), &yes = folding.argument(1), &no = folding.argument(2);
  if (yes.is_float() != no.is_float()) folding.node.fail("it chooses between integers and floats", export_again);
  const Broadcast all(folding, {&condition, &yes, &no});
  Constant result{all.dims(), {}, yes.type};
  std::visit(
      [&](const auto& left) {
        using Values = std::decay_t<decltype(left)>;
        const Values& right = std::get<Values>(no.values);
        Values values(all.size());
        all.for_each([&](std::size_t i, const auto& at) {
          values[i] = condition.number(at[0]) != 0 ? left[at[1]] : right[at[2]];
        });
        result.values = std::move(values);
      },
      yes.values);
  return result;
}

}  // namespace

FoldTable elementwise_folds() {
  FoldTable table = {{"Cast", one<cast>}, {"CastLike", one<cast_like>}, {"Clip", one<clip>},  {"IsNaN", one<is_nan>},
                     {"Not", one<unary>}, {"Pow", one<power>},          {"Where", one<where>}};
  for (const auto& [name, function] : unary_functions()) table[name] = one<unary>;
  for (const std::string& name : activation_names()) table[name] = one<unary>;
  for (const auto& [name, function] : binary_functions()) table[name] = one<arithmetic>;
  table["Mean"] = one<mean>;
  for (const char* op : {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"}) {
    table[op] = one<compare>;
  }
  return table;
}

}  // namespace bitcluster
