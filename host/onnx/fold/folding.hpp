#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host/onnx/constant.hpp"
#include "host/onnx/import_budget.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// One node to be evaluated on constants.
struct Folding {
  const Node& node;
  const ConstantInput& input;
  ImportBudget& budget;

  /// Error if it is left out.
  const Constant& argument(int index) const;
  /// The only element of an input, or `otherwise` where it is left out.
  double number(int index, double otherwise) const;
  /// Values of a list that is an attribute, or an input in newer operator sets; empty if there is neither.
  std::vector<std::int64_t> list(const std::string& attribute, int index) const;

  /// Elements of a result; Error if there are too many.
  std::size_t checked_size(const Dims& dims) const;
  /// Towards zero; Error if int64 does not hold it.
  std::int64_t to_integer(double value) const;
  /// Numbers as a constant of any type: rounded to a float type, cut to an integer type.
  Constant of_type(Dims dims, const std::vector<double>& numbers, std::int64_t type) const;
};

using FoldOperator = std::vector<Constant> (*)(const Folding& folding);
using FoldTable = std::map<std::string, FoldOperator>;  //!< by the operator's name in ONNX

/// A FoldOperator of a function that gives one result.
template <Constant (*operation)(const Folding&)>
std::vector<Constant> one(const Folding& folding) {
  std::vector<Constant> results;
  results.push_back(operation(folding));
  return results;
}

/// Constants side by side, each broadcast to the shape that they have together.
class Broadcast {
 public:
  /// Error if they do not fit together, or if the shape is too large. They must outlive it.
  Broadcast(const Folding& folding, const std::vector<const Constant*>& constants);

  const Dims& dims() const { return dims_; }
  std::size_t size() const { return size_; }

  /// Calls body(element, positions) in order; positions[k]: of the element in constant k.
  template <class Body>
  void for_each(Body&& body) const {
    const std::size_t count = strides_.size(), rank = dims_.size();
    const std::size_t row = rank > 0 ? std::size_t(dims_[rank - 1]) : 1;
    std::vector<std::size_t> positions(count), steps(count);
    for (std::size_t k = 0; k < count && rank > 0; ++k) steps[k] = strides_[k][rank - 1];
    std::vector<std::int64_t> index(rank);
    for (std::size_t i = 0; i < size_;) {
      for (const std::size_t end = i + row; i < end; ++i) {
        body(i, positions);
        for (std::size_t k = 0; k < count; ++k) positions[k] += steps[k];
      }
      for (std::size_t k = 0; k < count; ++k) positions[k] -= steps[k] * row;
      for (std::size_t axis = rank > 0 ? rank - 1 : 0; axis-- > 0;) {
        const bool carry = ++index[axis] == dims_[axis];
        for (std::size_t k = 0; k < count; ++k) {
          positions[k] += strides_[k][axis];
          if (carry) positions[k] -= strides_[k][axis] * std::size_t(dims_[axis]);
        }
        if (!carry) break;
        index[axis] = 0;
      }
    }
  }

 private:
  Dims dims_;
  std::size_t size_ = 0;
  std::vector<std::vector<std::size_t>> strides_;  //!< per constant and axis; 0 where it is repeated
};

/// The rows of a tensor along one axis: calls body(first element, step between elements).
template <class Body>
void for_each_row(const Dims& dims, int axis, Body&& body) {
  const auto extent = std::size_t(dims[std::size_t(axis)]);
  const auto inner = std::size_t(element_count(Dims(dims.begin() + axis + 1, dims.end())));
  const auto outer = std::size_t(element_count(Dims(dims.begin(), dims.begin() + axis)));
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::size_t i = 0; i < inner; ++i) body(o * extent * inner + i, inner);
  }
}

/// One element to one: arithmetic, comparisons, functions, casts.
FoldTable elementwise_folds();
/// Along axes: Reduce..., ArgMax, Softmax, normalization.
FoldTable axis_folds();
/// Elements at indices and positions: Gather..., Scatter..., TopK, triangles.
FoldTable indexed_folds();
/// MatMul, Gemm, Einsum.
FoldTable product_folds();
/// QuantizeLinear, DequantizeLinear.
FoldTable quantization_folds();
/// What makes, joins or moves tensors.
FoldTable tensor_folds();

}  // namespace bitcluster
