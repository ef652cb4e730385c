#include <fmt/format.h>

#include "host/onnx/fold/folding.hpp"

namespace bitcluster {
namespace {

/// Multiplications that one product of constants may take: four seconds of one core. Low-rank weights of the largest
/// layers (4096 x 64 x 4096) take 2^30.
constexpr double product_limit = 4294967296.0;  // 2^32

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

void check_work(const Folding& folding, double results, std::int64_t inner) {
  if (results * double(inner) > product_limit) {
    folding.node.fail(fmt::format("its product of constants takes {:.0f} multiplications", results * double(inner)),
                      "multiply these weights before the export");
  }
}

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
  check_work(folding, double(results.size()), inner);
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
  check_work(folding, double(results.size()), inner);
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

}  // namespace

FoldTable product_folds() { return {{"Gemm", one<gemm>}, {"MatMul", one<matrix_product>}}; }

}  // namespace bitcluster
