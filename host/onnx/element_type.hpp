#pragma once

#include <cstdint>

namespace bitcluster {

/// `type` is always an onnx::TensorProto::DataType.
bool is_float_type(std::int64_t type);

/// Values that an integer type can hold, as far as int64 holds them; bool: 0 and 1.
struct IntegerRange {
  std::int64_t lowest, highest;
};
/// Lowest above highest for what is no integer type.
IntegerRange integer_range(std::int64_t type);

/// An integer as a narrower type keeps it: its low bits.
std::int64_t wrap_to_type(std::int64_t value, std::int64_t type);

/// Nearest value of a float type, ties to even; Double is held as float32 here.
float round_to_type(float value, std::int64_t type);

}  // namespace bitcluster
