#pragma once

// cuda/instructions.cuh for kernels that run on the CPU: the lanes' registers as the PTX ISA describes them.

#include <cstdint>
#include <cstring>
#include <deque>

#include "cuda_runtime.h"

namespace bitcluster {

inline unsigned char* dynamic_shared() { return static_cast<unsigned char*>(cuda_on_cpu::dynamic_shared()); }

/// Does the copy late, when it is waited for, so that a kernel that does not wait reads what was there before.
template <int bytes>
void copy_async(void* shared, const void* global, bool valid) {
  static_assert(bytes == 4 || bytes == 16);
  if (reinterpret_cast<std::uintptr_t>(shared) % bytes || (valid && reinterpret_cast<std::uintptr_t>(global) % bytes)) {
    cuda_on_cpu::fail("a copy that is not aligned");
  }
  cuda_on_cpu::add_copy(shared, valid ? global : nullptr, bytes);
}
inline void close_copies() { cuda_on_cpu::close_copies(); }
template <int pending>
void wait_for_copies() {
  cuda_on_cpu::wait_for_copies(pending);
}

inline void load_matrices(std::uint32_t (&values)[4], const void* row) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16) cuda_on_cpu::fail("a matrix row that is not aligned");
  const int lane = cuda_on_cpu::lane();
  const unsigned char* rows = cuda_on_cpu::exchange(&row, sizeof row);
  for (int matrix = 0; matrix < 4; ++matrix) {
    const unsigned char* start = nullptr;
    std::memcpy(&start, rows + (8 * matrix + lane / 4) * cuda_on_cpu::exchange_stride, sizeof start);
    std::memcpy(&values[matrix], start + lane % 4 * 4, 4);
  }
}

template <bool a_is_signed>
void multiply_add(std::int32_t (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  std::uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const unsigned char* all = cuda_on_cpu::exchange(mine, sizeof mine);
  const int g = cuda_on_cpu::lane() / 4, t = cuda_on_cpu::lane() % 4;
  std::uint8_t rows[2][32];    // g and g + 8 of a
  std::int8_t columns[2][32];  // 2t and 2t + 1 of b
  for (int i = 0; i < 2; ++i) {
    for (int k = 0; k < 32; k += 4) {
      const auto word = [&](int lane, int index) { return all + lane * cuda_on_cpu::exchange_stride + index * 4; };
      std::memcpy(rows[i] + k, word(g * 4 + k % 16 / 4, k / 16 * 2 + i), 4);
      std::memcpy(columns[i] + k, word((2 * t + i) * 4 + k % 16 / 4, 4 + k / 16), 4);
    }
  }
  for (int i = 0; i < 4; ++i) {
    std::uint32_t sum = std::uint32_t(sums[i]);
    for (int k = 0; k < 32; ++k) {
      const std::uint8_t x = rows[i / 2][k];
      sum += std::uint32_t((a_is_signed ? int(std::int8_t(x)) : int(x)) * columns[i % 2][k]);
    }
    sums[i] = std::int32_t(sum);
  }
}

}  // namespace bitcluster
