#pragma once

#include <cstdint>

// Instructions that CUDA C++ has no function for (PTX ISA 8.0; compute capability 8.0 and later). The tests, which run
// kernels on the CPU, bring their own.
#ifdef __CUDACC__

namespace bitcluster {

/// The shared memory whose size is given at launch, aligned to 16 bytes.
__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char bitcluster_dynamic_shared[];
  return bitcluster_dynamic_shared;
}

__device__ __forceinline__ std::uint32_t shared_address(const void* shared) {
  return std::uint32_t(__cvta_generic_to_shared(shared));
}

/// Starts a copy of `bytes` bytes (4 or 16, aligned) from global to shared memory; zeros instead unless `valid`.
template <int bytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global, bool valid) {
  static_assert(bytes == 4 || bytes == 16);
  const int given = valid ? bytes : 0;
  if constexpr (bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)), "l"(global),
                 "r"(given));
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(shared)), "l"(global),
                 "r"(given));
  }
}

/// Closes a group of copies, which copies_done() counts.
__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;\n"); }

/// Waits until at most `pending` of this thread's latest groups are still under way.
template <int pending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
}

/// Four 8 x 16 byte matrices; lane l gives the address of row l % 8 of matrix l / 8, and gets bytes 4 (l % 4) to + 3 of
/// row l / 4 of each.
__device__ __forceinline__ void load_matrices(std::uint32_t (&values)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(values[0]), "=r"(values[1]), "=r"(values[2]), "=r"(values[3])
               : "r"(shared_address(row)));
}

/// sums (16 x 8, int32) += a (16 x 32, s8 or u8) * b (32 x 8, s8). Lane l holds, with g = l / 4 and t = l % 4:
/// a: bytes 4t to + 3 of rows g and g + 8, then bytes 16 + 4t to + 3 of both; b: bytes 4t to + 3 and 16 + 4t to + 3 of
/// column g; sums: columns 2t and 2t + 1 of row g, then of row g + 8.
template <bool a_is_signed>
__device__ __forceinline__ void multiply_add(std::int32_t (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                             std::uint32_t b1) {
  if constexpr (a_is_signed) {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};\n"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
        "%3};\n"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

}  // namespace bitcluster

#else
#include <cuda_instructions.h>
#endif
