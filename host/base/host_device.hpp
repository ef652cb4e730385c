#pragma once

// What host and device compile alike: read by g++ (kernels once per instruction set, so nothing here may become a
// symbol of its own) and by nvcc.
#ifdef __CUDACC__
#define BITCLUSTER_HOST_DEVICE __host__ __device__
#define BITCLUSTER_DEVICE __host__ __device__ __forceinline__
#else
#define BITCLUSTER_HOST_DEVICE
#define BITCLUSTER_DEVICE [[gnu::always_inline]] inline
#endif

namespace bitcluster {

/// float32 product that nothing may fuse with a following sum.
BITCLUSTER_DEVICE float multiply_rounded(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

}  // namespace bitcluster
