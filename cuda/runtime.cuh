#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <string>
#include <utility>

#include "host/base/error.hpp"

namespace bitcluster {

/// Error for a failed call of the CUDA runtime, with what to do about the usual causes.
inline void check(cudaError_t status, const char* function = __builtin_FUNCTION()) {
  if (status == cudaSuccess) return;
  throw Error(std::string("a CUDA call failed in ") + function, cudaGetErrorString(status),
              status == cudaErrorMemoryAllocation ? "free GPU memory, or use --backend cpu"
                                                  : "check the GPU and its driver (nvidia-smi), or use --backend cpu");
}

/// A queue of device work; work of different streams may overlap.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  operator cudaStream_t() const { return stream_; }
  void wait() const { check(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Device memory, (count) elements with undefined contents, taken and given back in the order of its stream's work.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(std::size_t count, cudaStream_t stream) : count_(count), stream_(stream) {
    if (count > 0) check(cudaMallocAsync(&data_, count * sizeof(T), stream));
  }
  /// Copies host memory that is not pinned; it may be reused at once.
  DeviceArray(const T* from, std::size_t count, cudaStream_t stream) : DeviceArray(count, stream) {
    if (count > 0) check(cudaMemcpyAsync(data_, from, count * sizeof(T), cudaMemcpyHostToDevice, stream));
  }
  DeviceArray(DeviceArray&& other) noexcept { swap(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    DeviceArray(std::move(other)).swap(*this);
    return *this;
  }
  ~DeviceArray() {
    if (data_) cudaFreeAsync(data_, stream_);
  }

  T* data() const { return data_; }
  std::size_t size() const { return count_; }

 private:
  void swap(DeviceArray& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    std::swap(stream_, other.stream_);
  }

  T* data_ = nullptr;
  std::size_t count_ = 0;
  cudaStream_t stream_ = nullptr;
};

/// Host memory that the device reads and writes while the host goes on.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(std::size_t count) : count_(count) {
    if (count > 0) check(cudaMallocHost(&data_, count * sizeof(T)));
  }
  PinnedArray(PinnedArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~PinnedArray() {
    if (data_) cudaFreeHost(data_);
  }

  T* data() const { return data_; }
  std::size_t size() const { return count_; }

 private:
  T* data_ = nullptr;
  std::size_t count_ = 0;
};

/// kernel<<<grid, block, shared bytes, stream>>>(arguments...), checked.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, cudaStream_t stream,
            Arguments&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

/// Blocks of `size` that cover `count`.
inline unsigned blocks_of(std::size_t count, std::size_t size) { return unsigned((count + size - 1) / size); }

}  // namespace bitcluster
