#include <fmt/format.h>

#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "host/onnx/affine.hpp"
#include "host/onnx/operators.hpp"

namespace bitcluster {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// ---- a tensor and a constant

constexpr int neither = -1;

/// Which of two inputs is constant.
int constant_input(Importer& importer, const Node& node) {
  const bool first = importer.is_constant(node, 0), second = importer.is_constant(node, 1);
  return first ? 0 : second ? 1 : neither;
}

struct Affine {
  double scale, shift;
};

/// A tensor and a constant, each value of which scales and shifts.
template <class AffineOf>
ImportedTensor apply_constant(Importer& importer, const Node& node, ImportedTensor& input, const Constant& constant,
                              AffineOf&& affine_of) {
  std::vector<double> scale, shift;
  for (std::size_t i = 0; i < constant.size(); ++i) {
    const Affine affine = affine_of(double(constant.number(i)));
    scale.push_back(affine.scale);
    shift.push_back(affine.shift);
  }
  return scale_and_shift(importer, node, input, constant.dims, scale, shift);
}

/// The same for a node of two inputs, of which input `index` is the constant.
template <class AffineOf>
void apply_constant_input(Importer& importer, const Node& node, int index, AffineOf&& affine_of) {
  ImportedTensor& input = importer.tensor(node, 1 - index);
  importer.set(node, 0, apply_constant(importer, node, input, importer.constant(node, index), affine_of));
}

ImportedTensor negative(Importer& importer, const Node& node, ImportedTensor& input) {
  return scale_and_shift(importer, node, input, -1, 0);
}

// ---- sums

ImportedTensor sum_of_all(Importer& importer, const Node& node) {
  ImportedTensor sum;
  ImportedTensor* so_far = nullptr;
  for (int i = 0; i < node.inputs(); ++i) {
    if (importer.is_constant(node, i)) continue;
    ImportedTensor& input = importer.tensor(node, i);
    if (so_far) sum = combine(importer, node, Add{}, *so_far, input);
    so_far = so_far ? &sum : &input;
  }
  for (int i = 0; i < node.inputs(); ++i) {
    if (!importer.is_constant(node, i)) continue;
    sum = apply_constant(importer, node, *so_far, importer.constant(node, i), [](double value) {
      return Affine{1, value};
    });
    so_far = &sum;
  }
  return *so_far;  // there is one: nodes whose inputs are all constant are folded
}

/// Add and Sum.
void add(Importer& importer, const Node& node) { importer.set(node, 0, sum_of_all(importer, node)); }

void mean(Importer& importer, const Node& node) {
  ImportedTensor sum = sum_of_all(importer, node);
  if (node.inputs() > 1) sum = scale_and_shift(importer, node, sum, 1.0 / node.inputs(), 0);
  importer.set(node, 0, std::move(sum));
}

void subtract(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant == neither) {
    ImportedTensor subtracted = negative(importer, node, importer.tensor(node, 1));
    importer.set(node, 0, combine(importer, node, Add{}, importer.tensor(node, 0), subtracted));
    return;
  }
  apply_constant_input(importer, node, constant, [&](double value) {
    return constant == 0 ? Affine{-1, value} : Affine{1, -value};
  });
}

void negate(Importer& importer, const Node& node) {
  importer.set(node, 0, negative(importer, node, importer.tensor(node, 0)));
}

// ---- products

void multiply(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant == neither) {
    importer.set(node, 0, combine(importer, node, Multiply{}, importer.tensor(node, 0), importer.tensor(node, 1)));
    return;
  }
  apply_constant_input(importer, node, constant, [](double value) { return Affine{value, 0}; });
}

void divide(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant != 1) {
    node.fail("it divides by what depends on the image",
              "only division by constants is supported; a normalization is, where it is LayerNormalization (opset 17)");
  }
  apply_constant_input(importer, node, constant, [&](double value) {
    if (value == 0) node.fail("it divides by 0", "check the model");
    return Affine{1 / value, 0};
  });
}

/// Small whole powers, as products.
void power(Importer& importer, const Node& node) {
  const Constant* exponent = importer.is_constant(node, 1) ? &importer.constant(node, 1) : nullptr;
  // 4: beyond it, products of 8-bit integers say little
  const bool one = exponent && exponent->size() == 1;
  const float times = one ? exponent->number(0) : 0;
  if (times != 1 && times != 2 && times != 3 && times != 4) {
    node.fail(one ? fmt::format("its exponent is {}", times) : "its exponent is not one constant",
              "only the exponents 1, 2, 3 and 4 are supported");
  }
  ImportedTensor& base = importer.make_permuted(importer.tensor(node, 0));
  ImportedTensor result = base;
  for (int i = 1; i < int(times); ++i) result = combine(importer, node, Multiply{}, result, base);
  importer.set(node, 0, std::move(result));
}

// ---- Max and Min

/// The larger of two tensors, element by element: pairs of elements side by side, then max pooling.
ImportedTensor larger(Importer& importer, const Node& node, ImportedTensor& a, ImportedTensor& b) {
  Dims dims;
  if (!broadcast_dims(a.elements.dims, b.elements.dims, dims) || a.elements.dims.size() != b.elements.dims.size() ||
      element_count(dims) < 1 || element_count(dims) > activation_limit / 2) {
    node.fail("the shapes of its inputs do not fit together", "give both the same axes, the batch first");
  }
  const auto count = int(element_count(dims));
  std::vector<int> layers;
  for (const ImportedTensor* tensor : {&a, &b}) {
    ImportedTensor flat = *tensor;
    flat.name = node.name();
    broadcast(flat.elements, dims);
    layers.push_back(importer.make_real(flat, {count, 1, 1}));
  }
  ImportedTensor pairs{
      importer.add_layer(node.name(), Concat{}, layers, {2 * count, 1, 1}), {{2, count}, {}}, node.name()};
  pairs.elements = transpose(pairs.elements, std::vector<int>{1, 0});
  pairs.elements.dims = {1, count, 2, 1};
  Pool pool{Pool::Kind::max, {}, false};
  pool.window.kernel_h = 2;
  const int source = importer.make_real(pairs, {count, 2, 1});
  return {importer.add_layer(node.name(), pool, {source}, {count, 1, 1}), {dims, {}}, node.name()};
}

/// The tensor where it is above, or else below, a bound.
ImportedTensor bounded(Importer& importer, const Node& node, ImportedTensor& input, float low, float high) {
  importer.make_permuted(input);
  ImportedTensor result = importer.add_elementwise(node, Function{}, input);
  importer.clamp(result.layer, low, high);
  return result;
}

/// The larger, or the smaller as the negative of the larger negative.
ImportedTensor extreme_of(Importer& importer, const Node& node, ImportedTensor& a, ImportedTensor& b, bool largest) {
  if (largest) return larger(importer, node, a, b);
  ImportedTensor negative_a = negative(importer, node, a), negative_b = negative(importer, node, b);
  ImportedTensor both = larger(importer, node, negative_a, negative_b);
  return negative(importer, node, both);
}

/// Max and Min.
void extreme(Importer& importer, const Node& node, bool largest) {
  std::optional<ImportedTensor> result;
  for (int i = 0; i < node.inputs(); ++i) {
    if (importer.is_constant(node, i)) continue;
    ImportedTensor input = importer.tensor(node, i);
    if (!result) {
      result = input;
      continue;
    }
    result = extreme_of(importer, node, *result, input, largest);
  }
  for (int i = 0; i < node.inputs(); ++i) {
    if (!importer.is_constant(node, i)) continue;
    const Constant& constant = importer.constant(node, i);
    bool one = constant.size() > 0;
    for (std::size_t k = 1; k < constant.size(); ++k) one = one && constant.number(k) == constant.number(0);
    Dims dims;
    const bool keeps_shape =
        broadcast_dims(constant.dims, result->elements.dims, dims) && dims == result->elements.dims;
    if (one && keeps_shape) {
      const float bound = constant.number(0);
      result = bounded(importer, node, *result, largest ? bound : -infinity, largest ? infinity : bound);
      continue;
    }
    Constant same_rank = constant;
    while (same_rank.dims.size() < result->elements.dims.size()) same_rank.dims.insert(same_rank.dims.begin(), 1);
    ImportedTensor bounds = constant_tensor(importer, node, same_rank);
    result = extreme_of(importer, node, *result, bounds, largest);
  }
  importer.set(node, 0, std::move(*result));
}

void max(Importer& importer, const Node& node) { extreme(importer, node, true); }

void min(Importer& importer, const Node& node) { extreme(importer, node, false); }

}  // namespace

OperatorTable arithmetic_operators() {
  return {{"Add", add},      {"Div", divide}, {"Max", max},   {"Mean", mean},    {"Min", min},
          {"Mul", multiply}, {"Neg", negate}, {"Pow", power}, {"Sub", subtract}, {"Sum", add}};
}

}  // namespace bitcluster
