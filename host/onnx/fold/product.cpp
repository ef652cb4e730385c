#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

/// A matrix inside a constant: element (row, column) is at first + row * row_step + column * column_step.
struct Matrix {
  const Constant& constant;
  std::size_t first, row_step, column_step;

  double at(std::size_t row, std::size_t column) const {
    return constant.number(first + row * row_step + column * column_step);
  }
};

/// (rows, columns) of a product of matrices, row by row.
void multiply(const Matrix& a, const Matrix& b, std::size_t rows, std::size_t inner, std::size_t columns,
              double* result) {
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t k = 0; k < inner; ++k) {
      const double factor = a.at(row, k);
      for (std::size_t column = 0; column < columns; ++column) {
        result[row * columns + column] += factor * b.at(k, column);
      }
    }
  }
}

/// A multiplication takes about as long as reading or writing a float.
constexpr double bytes_per_multiplication = 4;

/// NumPy's matmul: vectors become rows or columns, leading axes are broadcast.
Constant matrix_product(const Folding& folding) {
  const Constant &a = folding.argument(0), &b = folding.argument(1);
  if (a.dims.empty() || b.dims.empty()) folding.node.fail("an input is a single number", export_again);
  Dims left = a.dims, right = b.dims;
  if (left.size() == 1) left.insert(left.begin(), 1);
  if (right.size() == 1) right.push_back(1);
  const std::int64_t rows = left.end()[-2], inner = left.back(), columns = right.back();
  if (inner != right.end()[-2]) folding.node.fail("the shapes of its inputs do not fit together", export_again);
  // stacks of matrices, whose elements are the positions of the matrices
  const Constant a_stack{Dims(left.begin(), left.end() - 2), {}, 0},
      b_stack{Dims(right.begin(), right.end() - 2), {}, 0};
  const Broadcast stack(folding, {&a_stack, &b_stack});
  Dims dims = stack.dims();
  dims.push_back(rows);
  dims.push_back(columns);
  std::vector<double> results(folding.checked_size(dims));
  folding.budget.spend(folding.node.name(), bytes_per_multiplication * double(results.size()) * double(inner));
  stack.for_each([&](std::size_t i, const auto& at) {
    multiply({a, at[0] * std::size_t(rows * inner), std::size_t(inner), 1},
             {b, at[1] * std::size_t(inner * columns), std::size_t(columns), 1}, std::size_t(rows), std::size_t(inner),
             std::size_t(columns), results.data() + i * std::size_t(rows * columns));
  });
  if (b.dims.size() == 1) dims.pop_back();
  if (a.dims.size() == 1) dims.erase(dims.end() - (b.dims.size() == 1 ? 1 : 2));
  return folding.of_type(dims, results, a.type);
}

Constant gemm(const Folding& folding) {
  const Constant &a = folding.argument(0), &b = folding.argument(1);
  if (a.dims.size() != 2 || b.dims.size() != 2) folding.node.fail("its inputs are not matrices", export_again);
  const bool turn_a = folding.node.integer("transA", 0) != 0, turn_b = folding.node.integer("transB", 0) != 0;
  const std::int64_t rows = a.dims[turn_a], inner = a.dims[!turn_a], columns = b.dims[!turn_b];
  if (inner != b.dims[turn_b]) folding.node.fail("the shapes of its inputs do not fit together", export_again);
  const Dims dims = {rows, columns};
  std::vector<double> results(folding.checked_size(dims));
  folding.budget.spend(folding.node.name(), bytes_per_multiplication * double(results.size()) * double(inner));
  const auto a_width = std::size_t(a.dims[1]), b_width = std::size_t(b.dims[1]);
  multiply({a, 0, turn_a ? 1 : a_width, turn_a ? a_width : 1}, {b, 0, turn_b ? 1 : b_width, turn_b ? b_width : 1},
           std::size_t(rows), std::size_t(inner), std::size_t(columns), results.data());
  const double alpha = folding.node.number("alpha", 1), beta = folding.node.number("beta", 1);
  for (double& result : results) result *= alpha;
  if (folding.node.has_input(2)) {
    const Constant shape{dims, {}, 0}, &added = folding.argument(2);
    const Broadcast both(folding, {&shape, &added});
    if (both.dims() != dims) folding.node.fail("its bias does not fit its product", export_again);
    both.for_each([&](std::size_t i, const auto& at) { results[i] += beta * added.number(at[1]); });
  }
  return folding.of_type(dims, results, a.type);
}

// ---- Einsum

/// The axes of every operand and of the result, by their letters.
struct Subscripts {
  std::vector<std::string> operands;
  std::string result;
};

/// "ij,jk->ik"; without an arrow the result has the letters that occur once, in alphabetic order.
Subscripts read_subscripts(const Node& node) {
  std::string equation = node.text("equation", "");
  std::erase(equation, ' ');
  if (equation.find('.') != std::string::npos) {
    node.fail(fmt::format("its equation is '{}'", equation), "write all axes as letters, without an ellipsis");
  }
  const std::size_t arrow = equation.find("->");
  std::string left = equation.substr(0, arrow);
  Subscripts subscripts;
  if (arrow != std::string::npos) {
    subscripts.result = equation.substr(arrow + 2);
  } else {
    for (const char letter : left) {
      if (letter != ',' && std::count(left.begin(), left.end(), letter) == 1) subscripts.result += letter;
    }
    std::sort(subscripts.result.begin(), subscripts.result.end());
  }
  for (std::size_t comma; (comma = left.find(',')) != std::string::npos; left.erase(0, comma + 1)) {
    subscripts.operands.push_back(left.substr(0, comma));
  }
  subscripts.operands.push_back(left);
  return subscripts;
}

/// Sum over all letters that the result does not have of the products of the operands' elements.
Constant einsum(const Folding& folding) {
  const Node& node = folding.node;
  const Subscripts subscripts = read_subscripts(node);
  if (int(subscripts.operands.size()) != node.inputs())
    node.fail("its equation has another number of inputs", export_again);
  std::map<char, std::int64_t> extents;
  for (int k = 0; k < node.inputs(); ++k) {
    const std::string& letters = subscripts.operands[std::size_t(k)];
    const Dims& dims = folding.argument(k).dims;
    if (letters.size() != dims.size()) node.fail("its equation does not fit the rank of its inputs", export_again);
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (extents.emplace(letters[i], dims[i]).first->second != dims[i]) {
        node.fail(fmt::format("its inputs differ in axis '{}'", letters[i]), export_again);
      }
    }
  }
  Dims dims, all;
  for (const char letter : subscripts.result) {
    if (!extents.contains(letter)) node.fail(fmt::format("no input has axis '{}'", letter), export_again);
    dims.push_back(extents[letter]);
  }
  std::vector<double> results(folding.checked_size(dims));
  double work = double(node.inputs());
  for (const auto& [letter, extent] : extents) {
    all.push_back(extent);
    work *= double(extent);
  }
  folding.budget.spend(node.name(),
                       bytes_per_multiplication * work * double(extents.size()));  // every position is a sum
  // how far one step along each letter's axis moves in every operand, and in the result
  std::vector<std::string> tensors = subscripts.operands;
  tensors.push_back(subscripts.result);
  std::vector<std::vector<std::size_t>> strides;
  for (const std::string& letters : tensors) {
    std::vector<std::size_t>& along = strides.emplace_back(extents.size());
    std::size_t stride = 1;
    for (std::size_t i = letters.size(); i-- > 0;) {
      along[std::size_t(std::distance(extents.begin(), extents.find(letters[i])))] += stride;
      stride *= std::size_t(extents[letters[i]]);
    }
  }
  Dims index(all.size());
  const auto total = std::size_t(work / double(node.inputs()));
  for (std::size_t i = 0; i < total; ++i) {
    const auto position = [&](std::size_t tensor) {
      std::size_t at = 0;
      for (std::size_t axis = 0; axis < all.size(); ++axis) at += strides[tensor][axis] * std::size_t(index[axis]);
      return at;
    };
    double product = 1;
    for (int k = 0; k < node.inputs(); ++k) product *= folding.argument(k).number(position(std::size_t(k)));
    results[position(strides.size() - 1)] += product;
    for (std::size_t axis = all.size(); axis-- > 0 && ++index[axis] == all[axis];) index[axis] = 0;
  }
  return folding.of_type(dims, results, folding.argument(0).type);
}

}  // namespace

FoldTable product_folds() { return {{"Einsum", one<einsum>}, {"Gemm", one<gemm>}, {"MatMul", one<matrix_product>}}; }

}  // namespace bitcluster
