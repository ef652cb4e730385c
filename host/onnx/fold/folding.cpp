#include "host/onnx/fold/folding.hpp"

#include <fmt/format.h>

#include <cmath>

#include "host/onnx/element_type.hpp"
#include "host/onnx/rearrange.hpp"

namespace bitcluster {

const Constant& Folding::argument(int index) const {
  const Constant* constant = input(index);
  if (!constant) node.fail(fmt::format("input {} is missing", index), export_again);
  return *constant;
}

double Folding::number(int index, double otherwise) const {
  const Constant* constant = input(index);
  if (!constant) return otherwise;
  if (constant->size() != 1) node.fail(fmt::format("input {} is not one number", index), export_again);
  return constant->number(0);
}

std::vector<std::int64_t> Folding::list(const std::string& attribute, int index) const {
  if (node.has(attribute)) return node.integers(attribute, {});
  return node.has_input(index) ? integers_of(node, input, index) : std::vector<std::int64_t>();
}

std::size_t Folding::checked_size(const Dims& dims) const {
  const std::int64_t count = element_count(dims);
  if (count < 0 || count > budget.available()) {
    node.fail(fmt::format("its constant result of {} elements is too large: a model of this size may hold {} more",
                          fmt::join(dims, " x "), budget.available()),
              "compute these weights before the export, or check the shapes of the model");
  }
  return std::size_t(count);
}

std::int64_t Folding::to_integer(double value) const {
  // 2^63: larger ones do not fit
  if (!(std::fabs(value) < 9223372036854775808.0))
    node.fail("a number does not fit into an integer", "check the model");
  return std::int64_t(value);
}

Constant Folding::of_type(Dims dims, const std::vector<double>& numbers, std::int64_t type) const {
  if (is_float_type(type)) {
    std::vector<float> values;
    values.reserve(numbers.size());
    for (const double number : numbers) values.push_back(round_to_type(float(number), type));
    return {std::move(dims), std::move(values), int(type)};
  }
  std::vector<std::int64_t> values;
  values.reserve(numbers.size());
  for (const double number : numbers) values.push_back(wrap_to_type(to_integer(number), type));
  return {std::move(dims), std::move(values), int(type)};
}

Broadcast::Broadcast(const Folding& folding, const std::vector<const Constant*>& constants) {
  for (const Constant* constant : constants) {
    Dims both;
    if (!broadcast_dims(dims_, constant->dims, both)) {
      folding.node.fail("the shapes of its inputs do not fit together", export_again);
    }
    dims_ = both;
  }
  size_ = folding.checked_size(dims_);
  for (const Constant* constant : constants) {
    std::vector<std::size_t>& strides = strides_.emplace_back(dims_.size());
    const std::size_t added = dims_.size() - constant->dims.size();
    std::size_t stride = 1;
    for (std::size_t axis = constant->dims.size(); axis-- > 0;) {
      const auto extent = std::size_t(constant->dims[axis]);
      strides[added + axis] = extent == 1 ? 0 : stride;
      stride *= extent;
    }
  }
}

}  // namespace bitcluster
