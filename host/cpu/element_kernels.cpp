// Compiled once per instruction set: BITCLUSTER_KERNELS names the set (see CMakeLists.txt). The loops are written so
// that the compiler turns them into vector instructions.

#include "host/cpu/kernels.hpp"

namespace bitcluster {
namespace {

/// Calls body with the operand's values as their own type.
template <class Body>
[[gnu::always_inline]] inline void with_type(const std::uint8_t* values, bool is_signed, Body&& body) {
  if (is_signed) {
    body(reinterpret_cast<const std::int8_t*>(values));
  } else {
    body(values);
  }
}

/// Stores value(i) for every i: as float, or rounded to a byte.
template <class Value>
[[gnu::always_inline]] inline void store(const Result& result, std::size_t count, Value&& value) {
  const OutputRange range = result.range;
  if (result.real) {
    float* output = static_cast<float*>(result.values);
    for (std::size_t i = 0; i < count; ++i) output[i] = clamp_to(value(i), range);
  } else {
    std::uint8_t* __restrict output = static_cast<std::uint8_t*>(result.values);
    for (std::size_t i = 0; i < count; ++i) output[i] = std::uint8_t(round_to_range(value(i), range));
  }
}

void rescale_all(Operand a, Result result, std::size_t count) {
  with_type(a.values, a.is_signed, [&](const auto* __restrict values) {
    store(result, count, [&](std::size_t i) { return rescale(values[i], a.multiplier); });
  });
}

void add_all(Operand a, Operand b, Result result, std::size_t count) {
  with_type(a.values, a.is_signed, [&](const auto* __restrict x) {
    with_type(b.values, b.is_signed, [&](const auto* __restrict y) {
      store(result, count, [&](std::size_t i) { return rescale_sum(x[i], a.multiplier, y[i], b.multiplier); });
    });
  });
}

void multiply_all(Operand a, Operand b, Result result, std::size_t count) {
  with_type(a.values, a.is_signed, [&](const auto* __restrict x) {
    with_type(b.values, b.is_signed, [&](const auto* __restrict y) {
      store(result, count, [&](std::size_t i) { return rescale_product(x[i], y[i], a.multiplier); });
    });
  });
}

constexpr int pool_channels =
    256;  //!< channels that a pooling window is reduced over at once, in the first-level cache

template <class T>
[[gnu::always_inline]] inline void max_pool_of(const PoolTask& task, Result result) {
  for (int first = 0; first < task.channels; first += pool_channels) {
    const int count = task.channels - first < pool_channels ? task.channels - first : pool_channels;
    T largest[pool_channels];
    __builtin_memcpy(largest, task.positions[0] + first, std::size_t(count));
    for (int position = 1; position < task.count; ++position) {
      const T* values = reinterpret_cast<const T*>(task.positions[position]) + first;
      for (int i = 0; i < count; ++i) largest[i] = values[i] > largest[i] ? values[i] : largest[i];
    }
    store(result, std::size_t(count), [&](std::size_t i) { return rescale(largest[i], task.multiplier); });
    result.values = static_cast<std::uint8_t*>(result.values) + (result.real ? sizeof(float) : 1) * count;
  }
}

void max_pool_all(const PoolTask& task, Result result) {
  if (task.is_signed) {
    max_pool_of<std::int8_t>(task, result);
  } else {
    max_pool_of<std::uint8_t>(task, result);
  }
}

void average_pool_all(const PoolTask& task, Result result) {
  for (int first = 0; first < task.channels; first += pool_channels) {
    const int count = task.channels - first < pool_channels ? task.channels - first : pool_channels;
    std::int32_t sums[pool_channels] = {};
    for (int position = 0; position < task.count; ++position) {
      with_type(task.positions[position], task.is_signed, [&](const auto* values) {
        for (int i = 0; i < count; ++i) sums[i] += values[first + i];
      });
    }
    store(result, std::size_t(count), [&](std::size_t i) { return rescale(sums[i], task.multiplier); });
    result.values = static_cast<std::uint8_t*>(result.values) + (result.real ? sizeof(float) : 1) * count;
  }
}

void normalize_all(Operand from, int channels, int before, int after, const float* table,
                   std::int32_t* __restrict squares, Result result) {
  const int size = before + 1 + after;
  with_type(from.values, from.is_signed, [&](const auto* values) {
    for (int i = 0; i < channels + before + after; ++i) squares[i] = 0;
    for (int i = 0; i < channels; ++i) squares[before + i] = values[i] * values[i];
    store(result, std::size_t(channels), [&](std::size_t i) {
      std::int32_t sum = 0;
      for (int k = 0; k < size; ++k) sum += squares[i + k];
      return rescale(values[i], table[sum]);
    });
  });
}

void flip_all(const std::uint8_t* __restrict from, std::uint8_t* __restrict to, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) to[i] = from[i] ^ 0x80;
}

void widen_all(const std::uint8_t* from, bool is_signed, std::int16_t* __restrict to, std::size_t count) {
  with_type(from, is_signed, [&](const auto* __restrict values) {
    for (std::size_t i = 0; i < count; ++i) to[i] = values[i];
  });
}

}  // namespace

void BITCLUSTER_NAME(add_element_kernels_, BITCLUSTER_KERNELS)(Kernels& kernels) {
  kernels.flip_signs = flip_all;
  kernels.widen = widen_all;
  kernels.rescale = rescale_all;
  kernels.add = add_all;
  kernels.multiply = multiply_all;
  kernels.max_pool = max_pool_all;
  kernels.average_pool = average_pool_all;
  kernels.normalize = normalize_all;
}

}  // namespace bitcluster
