#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "host/onnx/element_map.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// A tensor known at import. Every float type is held as float32, every integer type and bool as int64.
struct Constant {
  Dims dims;
  std::variant<std::vector<float>, std::vector<std::int64_t>> values;
  int type = 0;  //!< onnx::TensorProto::DataType that it had

  std::int64_t bytes() const;
  std::size_t size() const { return std::size_t(element_count(dims)); }
  bool is_float() const { return values.index() == 0; }
  float number(std::size_t i) const;
};

/// A constant of float32 values.
Constant make_constant(Dims dims, std::vector<float> values);
/// A constant of int64 values.
Constant make_constant(Dims dims, std::vector<std::int64_t> values);

/// Elements of a tensor of the file, and the bytes of each in raw data. Error, beginning with `what`, for a shape that
/// is none and for a type that is not a number.
std::size_t stored_elements(const onnx::TensorProto& tensor, const std::string& what);
std::size_t stored_size(int type, const std::string& what);

/// Reads an initializer or attribute. Error, beginning with `what`, for external data, a wrong number of values, or
/// a type that is not a number.
Constant read_constant(const onnx::TensorProto& tensor, const std::string& what);

/// Gives input `index` of a node as a constant; null if it is left out, Error if it depends on the image.
using ConstantInput = std::function<const Constant*(int index)>;

}  // namespace bitcluster
