#pragma once

// Takes the place of CUDA's own header when g++ compiles cuda/*.cu for the tests: a device made of this process.
// Kernels run as they are, thread by thread, so that their results are tested on every machine. It is strict where
// hardware is forgiving: a read or write behind the end of an allocation faults, memory starts as garbage, warps and
// lanes run one after another up to the next barrier in an order that a seed decides, pointers given to a kernel or a
// copy must be the device's, and a barrier that not every thread reaches ends the program. It says nothing of speed, of
// memory ordering between blocks, or of what nvcc makes of the code.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>

#define BITCLUSTER_CUDA_ON_CPU 1
#define CUDART_VERSION 13000
#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline
#define __shared__ static  // blocks run one after another
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(4) char4 {
  signed char x, y, z, w;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};
struct alignas(8) short4 {
  short x, y, z, w;
};
struct alignas(8) ushort4 {
  unsigned short x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline dim3 threadIdx, blockIdx, blockDim, gridDim;
inline constexpr int warpSize = 32;

// ---------------------------------------------------------------- the runtime

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600
};
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold };
inline constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;
using cudaStream_t = struct CUstream_st*;
using cudaEvent_t = struct CUevent_st*;
using cudaMemPool_t = struct CUmemPool_st*;
struct cudaUUID_t {
  char bytes[16];
};
struct cudaDeviceProp {
  char name[256];
  cudaUUID_t uuid;
  std::size_t totalGlobalMem;
  int major, minor, multiProcessorCount;
  std::size_t sharedMemPerBlockOptin;
};
struct cudaLaunchAttribute {};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, std::size_t bytes);
cudaError_t cudaMalloc(void** memory, std::size_t bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaMallocAsync(void** memory, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
cudaError_t cudaMallocHost(void** memory, std::size_t bytes);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemset(void* to, int value, std::size_t bytes);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t last);

// CUDA's headers have such overloads, too
template <class T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(memory), bytes);
}
template <class T>
cudaError_t cudaMallocAsync(T** memory, std::size_t bytes, cudaStream_t stream) {
  return cudaMallocAsync(reinterpret_cast<void**>(memory), bytes, stream);
}
template <class T>
cudaError_t cudaMallocHost(T** memory, std::size_t bytes) {
  return cudaMallocHost(reinterpret_cast<void**>(memory), bytes);
}

namespace cuda_on_cpu {

/// Order of warps and lanes in what is launched from now on.
void set_seed(unsigned seed);
/// Bytes that allocations may take together from now on (default 4 GiB); 0 devices with `count` of 0.
void set_device(int count, std::size_t memory);
/// Device memory that is allocated now [byte].
std::size_t allocated();

cudaError_t launch(const cudaLaunchConfig_t& config, std::size_t shared_limit, const std::function<void()>& kernel);
std::size_t dynamic_shared_limit(const void* kernel);
void set_dynamic_shared_limit(const void* kernel, std::size_t bytes);
void check_device_pointer(const void* pointer);

void* dynamic_shared();
void wait_for_block();
void wait_for_warp();
/// Gives `bytes` bytes at `mine` to all lanes of the warp; all values by lane, `stride` apart, valid up to the lane's
/// next exchange but one.
inline constexpr std::size_t exchange_stride = 64;
const unsigned char* exchange(const void* mine, std::size_t bytes);
int lane();
/// Copies of the current thread that wait_for_copies() does; from null: zeros.
void add_copy(void* to, const void* from, int bytes);
void close_copies();
void wait_for_copies(int pending);
[[noreturn]] void fail(const char* what);

template <class T>
void check_argument(const T& value) {
  if constexpr (std::is_pointer_v<T>) check_device_pointer(reinterpret_cast<const void*>(value));
}

template <class T>
T of_lane(const T& mine, int from) {
  static_assert(sizeof(T) <= exchange_stride);
  T value;
  std::memcpy(&value, exchange(&mine, sizeof mine) + (from & 31) * exchange_stride, sizeof value);
  return value;
}

inline void check_mask(unsigned mask) {
  if (mask != 0xffffffffu) fail("a warp operation without all its lanes");
}

}  // namespace cuda_on_cpu

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int value) {
  cuda_on_cpu::set_dynamic_shared_limit(reinterpret_cast<const void*>(kernel), std::size_t(value));
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  std::apply([](const auto&... each) { (cuda_on_cpu::check_argument(each), ...); }, values);
  return cuda_on_cpu::launch(*config, cuda_on_cpu::dynamic_shared_limit(reinterpret_cast<const void*>(kernel)),
                             [&] { std::apply(kernel, values); });
}

// ---------------------------------------------------------------- what kernels call

inline void __syncthreads() { cuda_on_cpu::wait_for_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  cuda_on_cpu::check_mask(mask);
  cuda_on_cpu::wait_for_warp();
}
inline void __threadfence() {}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  cuda_on_cpu::check_mask(mask);
  const int mine = cuda_on_cpu::lane();
  return cuda_on_cpu::of_lane(value, mine / width * width + lane % width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  cuda_on_cpu::check_mask(mask);
  const int mine = cuda_on_cpu::lane(), from = mine ^ bits;
  return cuda_on_cpu::of_lane(value, from / width == mine / width ? from : mine);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32) {
  cuda_on_cpu::check_mask(mask);
  const int mine = cuda_on_cpu::lane(), from = mine + distance;
  return cuda_on_cpu::of_lane(value, from / width == mine / width ? from : mine);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance, int width = 32) {
  cuda_on_cpu::check_mask(mask);
  const int mine = cuda_on_cpu::lane(), from = mine - distance;
  return cuda_on_cpu::of_lane(value, from >= mine / width * width ? from : mine);
}
template <class T, class Combine>
T reduce_warp_on_cpu(unsigned mask, T value, Combine&& combine) {
  cuda_on_cpu::check_mask(mask);
  const unsigned char* all = cuda_on_cpu::exchange(&value, sizeof value);
  T result;
  std::memcpy(&result, all, sizeof result);
  for (int lane = 1; lane < 32; ++lane) {
    T next;
    std::memcpy(&next, all + lane * cuda_on_cpu::exchange_stride, sizeof next);
    result = combine(result, next);
  }
  return result;
}
template <class T>
T __reduce_max_sync(unsigned mask, T value) {
  return reduce_warp_on_cpu(mask, value, [](T a, T b) { return a > b ? a : b; });
}
template <class T>
T __reduce_add_sync(unsigned mask, T value) {
  return reduce_warp_on_cpu(mask, value, [](T a, T b) { return T(a + b); });
}
template <class T>
T __reduce_or_sync(unsigned mask, T value) {
  return reduce_warp_on_cpu(mask, value, [](T a, T b) { return T(a | b); });
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const unsigned bit = predicate ? 1u << cuda_on_cpu::lane() : 0;
  return __reduce_or_sync(mask, bit);
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }

template <class T>
T atomicAdd(T* place, T value) {
  const T before = *place;
  *place = T(before + value);
  return before;
}
template <class T>
T atomicMax(T* place, T value) {
  const T before = *place;
  *place = before > value ? before : value;
  return before;
}
template <class T>
T atomicMin(T* place, T value) {
  const T before = *place;
  *place = before < value ? before : value;
  return before;
}
template <class T>
T atomicOr(T* place, T value) {
  const T before = *place;
  *place = T(before | value);
  return before;
}

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __clz(int value) { return value ? __builtin_clz(unsigned(value)) : 32; }
inline int __float_as_int(float value) { return __builtin_bit_cast(int, value); }
inline float __int_as_float(int value) { return __builtin_bit_cast(float, value); }
inline double __hiloint2double(int high, int low) {
  return __builtin_bit_cast(double, std::uint64_t(unsigned(high)) << 32 | unsigned(low));
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
template <class T>
T __ldg(const T* place) {
  return *place;
}
/// Maxima and minima of the two unsigned halves.
inline unsigned __vmaxu2(unsigned a, unsigned b) {
  const unsigned low = (a & 0xffffu) > (b & 0xffffu) ? a : b, high = a >> 16 > b >> 16 ? a : b;
  return (high & 0xffff0000u) | (low & 0xffffu);
}
inline unsigned __vminu2(unsigned a, unsigned b) {
  const unsigned low = (a & 0xffffu) < (b & 0xffffu) ? a : b, high = a >> 16 < b >> 16 ? a : b;
  return (high & 0xffff0000u) | (low & 0xffffu);
}
/// Sum of four products of bytes, plus `sum`.
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) sum += int(std::int8_t(a >> (8 * i))) * int(std::int8_t(b >> (8 * i)));
  return sum;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned sum) {
  for (int i = 0; i < 4; ++i) sum += (a >> (8 * i) & 255) * (b >> (8 * i) & 255);
  return sum;
}
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= unsigned(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
  return result;
}
