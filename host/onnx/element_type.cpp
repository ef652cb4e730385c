#include "host/onnx/element_type.hpp"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace bitcluster {
namespace {

using Proto = onnx::TensorProto;

// ONNX 1.16, newer than the library of Debian 12
constexpr std::int64_t uint4 = 21, int4 = 22;

template <class Integer>
IntegerRange range_of() {
  return {std::int64_t(std::numeric_limits<Integer>::min()), std::int64_t(std::numeric_limits<Integer>::max())};
}

}  // namespace

bool is_float_type(std::int64_t type) {
  return type == Proto::FLOAT || type == Proto::DOUBLE || type == Proto::FLOAT16 || type == Proto::BFLOAT16;
}

IntegerRange integer_range(std::int64_t type) {
  switch (type) {
    case Proto::BOOL:
      return {0, 1};
    case uint4:
      return {0, 15};
    case int4:
      return {-8, 7};
    case Proto::INT8:
      return range_of<std::int8_t>();
    case Proto::UINT8:
      return range_of<std::uint8_t>();
    case Proto::INT16:
      return range_of<std::int16_t>();
    case Proto::UINT16:
      return range_of<std::uint16_t>();
    case Proto::INT32:
      return range_of<std::int32_t>();
    case Proto::UINT32:
      return range_of<std::uint32_t>();
    case Proto::INT64:
      return range_of<std::int64_t>();
    case Proto::UINT64:
      return {0, std::numeric_limits<std::int64_t>::max()};
    default:
      return {0, -1};
  }
}

std::int64_t wrap_to_type(std::int64_t value, std::int64_t type) {
  const auto [lowest, highest] = integer_range(type);
  if (value >= lowest && value <= highest) return value;
  if (type == Proto::BOOL) return 1;
  const std::int64_t count = highest - lowest + 1;  // 0 where the type has 64 bits, or is none
  if (count <= 0) return value;
  const std::int64_t rest = (value - lowest) % count;
  return lowest + (rest < 0 ? rest + count : rest);
}

float round_to_type(float value, std::int64_t type) {
  // binary16: 11 significant bits, exponents from -14, below 65520; bfloat16: 8, from -126
  if ((type != Proto::FLOAT16 && type != Proto::BFLOAT16) || value == 0 || !std::isfinite(value)) return value;
  const bool half = type == Proto::FLOAT16;
  if (half && std::fabs(value) >= 65520) return std::copysign(std::numeric_limits<float>::infinity(), value);
  const float step = std::ldexp(1.0f, std::max(std::ilogb(value), half ? -14 : -126) - (half ? 10 : 7));
  return std::nearbyint(value / step) * step;
}

}  // namespace bitcluster
