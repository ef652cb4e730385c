#include "host/onnx/constant.hpp"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

using Floats = std::vector<float>;
using Integers = std::vector<std::int64_t>;
using Proto = onnx::TensorProto;

/// IEEE 754 binary16 to binary32.
float half_to_float(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
  float value = exponent == 0    ? std::ldexp(float(fraction), -24)
                : exponent == 31 ? (fraction ? NAN : INFINITY)
                                 : std::ldexp(float(fraction + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

/// bfloat16 is the upper half of binary32.
float bfloat_to_float(std::uint16_t bits) {
  const std::uint32_t wide = std::uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

/// Values of one stored type: from raw_data (little-endian, as ONNX fixes it) or else from the typed field.
template <class Stored, class Held, class Field, class Convert>
std::vector<Held> read_values(const Proto& tensor, const Field& field, std::size_t count, const std::string& what,
                              const Convert& convert) {
  std::vector<Held> values;
  if (tensor.has_raw_data()) {
    const std::string& raw = tensor.raw_data();
    if (raw.size() != count * sizeof(Stored)) {
      throw Error(what,
                  fmt::format("it has {} bytes of data, but its shape needs {}", raw.size(), count * sizeof(Stored)),
                  "export or copy the model again");
    }
    values.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      Stored stored;
      std::memcpy(&stored, raw.data() + i * sizeof(Stored), sizeof(Stored));
      values.push_back(convert(stored));
    }
    return values;
  }
  if (std::size_t(field.size()) != count) {
    throw Error(what, fmt::format("it has {} values, but its shape needs {}", field.size(), count),
                "export or copy the model again");
  }
  values.reserve(count);
  for (const auto stored : field) values.push_back(convert(Stored(stored)));
  return values;
}

[[noreturn]] void fail_type(int type, const std::string& what) {
  throw Error(what, fmt::format("its element type is number {} of ONNX", type),
              "use float, double, float16, bfloat16, bool, or integers of 8 to 64 bits");
}

}  // namespace

float Constant::number(std::size_t i) const {
  return is_float() ? std::get<Floats>(values)[i] : float(std::get<Integers>(values)[i]);
}

std::int64_t Constant::bytes() const {
  return std::visit([](const auto& held) { return std::int64_t(sizeof held[0] * held.size()); }, values);
}

Constant make_constant(Dims dims, Floats values) { return {std::move(dims), std::move(values), Proto::FLOAT}; }
Constant make_constant(Dims dims, Integers values) { return {std::move(dims), std::move(values), Proto::INT64}; }

std::size_t stored_elements(const Proto& tensor, const std::string& what) {
  const std::int64_t elements = element_count(Dims(tensor.dims().begin(), tensor.dims().end()));
  if (elements < 0) throw Error(what, "its shape is negative or too large", export_again);
  return std::size_t(elements);
}

std::size_t stored_size(int type, const std::string& what) {
  switch (type) {
    case Proto::BOOL:
    case Proto::INT8:
    case Proto::UINT8:
      return 1;
    case Proto::FLOAT16:
    case Proto::BFLOAT16:
    case Proto::INT16:
    case Proto::UINT16:
      return 2;
    case Proto::FLOAT:
    case Proto::INT32:
    case Proto::UINT32:
      return 4;
    case Proto::DOUBLE:
    case Proto::INT64:
    case Proto::UINT64:
      return 8;
    default:
      fail_type(type, what);
  }
}

Constant read_constant(const Proto& tensor, const std::string& what) {
  if (tensor.data_location() == Proto::EXTERNAL || tensor.external_data_size() > 0) {
    throw Error(what, "its values are in another file (external data), which it does not name",
                "save the model as one file, for example with onnx.save_model(..., save_as_external_data=False)");
  }
  Constant constant;
  constant.dims.assign(tensor.dims().begin(), tensor.dims().end());
  constant.type = tensor.data_type();
  const std::size_t count = stored_elements(tensor, what);

  const auto same = [](auto value) { return value; };
  const auto integer = [](auto value) { return std::int64_t(value); };
  switch (constant.type) {
    case Proto::FLOAT:
      constant.values = read_values<float, float>(tensor, tensor.float_data(), count, what, same);
      break;
    case Proto::DOUBLE:
      constant.values =
          read_values<double, float>(tensor, tensor.double_data(), count, what, [](double x) { return float(x); });
      break;
    case Proto::FLOAT16:
      constant.values = read_values<std::uint16_t, float>(tensor, tensor.int32_data(), count, what, half_to_float);
      break;
    case Proto::BFLOAT16:
      constant.values = read_values<std::uint16_t, float>(tensor, tensor.int32_data(), count, what, bfloat_to_float);
      break;
    case Proto::INT8:
      constant.values = read_values<std::int8_t, std::int64_t>(tensor, tensor.int32_data(), count, what, integer);
      break;
    case Proto::BOOL:
    case Proto::UINT8:
      constant.values = read_values<std::uint8_t, std::int64_t>(tensor, tensor.int32_data(), count, what, integer);
      break;
    case Proto::INT16:
      constant.values = read_values<std::int16_t, std::int64_t>(tensor, tensor.int32_data(), count, what, integer);
      break;
    case Proto::UINT16:
      constant.values = read_values<std::uint16_t, std::int64_t>(tensor, tensor.int32_data(), count, what, integer);
      break;
    case Proto::INT32:
      constant.values = read_values<std::int32_t, std::int64_t>(tensor, tensor.int32_data(), count, what, integer);
      break;
    case Proto::INT64:
      constant.values = read_values<std::int64_t, std::int64_t>(tensor, tensor.int64_data(), count, what, integer);
      break;
    case Proto::UINT32:
      constant.values = read_values<std::uint32_t, std::int64_t>(tensor, tensor.uint64_data(), count, what, integer);
      break;
    case Proto::UINT64:
      constant.values = read_values<std::uint64_t, std::int64_t>(tensor, tensor.uint64_data(), count, what, integer);
      break;
    default:
      fail_type(constant.type, what);
  }
  return constant;
}

}  // namespace bitcluster
