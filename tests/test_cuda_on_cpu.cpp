// The device made of this process (tests/cuda_on_cpu) against what the CUDA programming guide and the PTX ISA say.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cuda/emulation.hpp"
#include "cuda/instructions.cuh"
#include "cuda/runtime.cuh"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

template <class T>
std::vector<T> to_host(const DeviceArray<T>& array) {
  std::vector<T> values(array.size());
  check(cudaMemcpy(values.data(), array.data(), values.size() * sizeof(T), cudaMemcpyDeviceToHost));
  return values;
}

__global__ void reverse(const int* from, int* to) {
  __shared__ int values[256];
  values[threadIdx.x] = from[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  to[blockIdx.x * blockDim.x + threadIdx.x] = values[blockDim.x - 1 - threadIdx.x];
}

TEST(CudaOnCpu, BarriersAndBlocks) {
  std::vector<int> numbers(4 * 96);
  for (int i = 0; i < int(numbers.size()); ++i) numbers[i] = i;
  const DeviceArray<int> from(numbers.data(), numbers.size(), nullptr), to(numbers.size(), nullptr);
  for (unsigned seed = 0; seed < 5; ++seed) {
    cuda_on_cpu::set_seed(seed);
    launch(reverse, 4, 96, 0, nullptr, from.data(), to.data());
    const std::vector<int> reversed = to_host(to);
    for (int i = 0; i < int(numbers.size()); ++i) EXPECT_EQ(reversed[i], i / 96 * 96 + 95 - i % 96);
  }
}

__global__ void shuffles(int* sums, int* maxima, unsigned* ballots) {
  const int lane = int(threadIdx.x % 32), value = int(threadIdx.x * 7 % 31);
  int sum = value;
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  const int largest = __reduce_max_sync(0xffffffffu, value);
  const unsigned ballot = __ballot_sync(0xffffffffu, value % 2);
  const int next = __shfl_down_sync(0xffffffffu, value, 1);
  if (lane < 31 && next != int((threadIdx.x + 1) * 7 % 31)) sum = -1;
  sums[threadIdx.x] = sum;
  maxima[threadIdx.x] = largest;
  ballots[threadIdx.x] = ballot;
}

TEST(CudaOnCpu, WarpOperations) {
  const DeviceArray<int> sums(64, nullptr), maxima(64, nullptr);
  const DeviceArray<unsigned> ballots(64, nullptr);
  launch(shuffles, 1, 64, 0, nullptr, sums.data(), maxima.data(), ballots.data());
  for (int thread = 0; thread < 64; ++thread) {
    int sum = 0, largest = 0;
    unsigned ballot = 0;
    for (int lane = 0; lane < 32; ++lane) {
      const int value = (thread / 32 * 32 + lane) * 7 % 31;
      sum += value;
      largest = std::max(largest, value);
      ballot |= unsigned(value % 2) << lane;
    }
    EXPECT_EQ(to_host(sums)[thread], sum);
    EXPECT_EQ(to_host(maxima)[thread], largest);
    EXPECT_EQ(to_host(ballots)[thread], ballot);
  }
}

TEST(CudaOnCpu, HalvesOfWords) {
  EXPECT_EQ(__vmaxu2(0x00018000u, 0x00027fffu), 0x00028000u);
  EXPECT_EQ(__vminu2(0x00018000u, 0x00027fffu), 0x00017fffu);
  EXPECT_EQ(__vmaxu2(0xffff0001u, 0x00010002u), 0xffff0002u);
  EXPECT_EQ(__vminu2(0xffff0001u, 0x00010002u), 0x00010001u);
}

/// c (16, 8) = a (16, 32) * b (8, 32), rows of 32 bytes.
template <bool a_is_signed>
__global__ void multiply(const std::uint8_t* a, const std::int8_t* b, std::int32_t* c) {
  __shared__ __align__(16) std::uint8_t rows[24][32];
  const int lane = int(threadIdx.x);
  for (int row = 0; row < 16; ++row) copy_async<4>(&rows[row][lane % 8 * 4], a + row * 32 + lane % 8 * 4, true);
  for (int row = 0; row < 8; ++row) copy_async<4>(&rows[16 + row][lane % 8 * 4], b + row * 32 + lane % 8 * 4, true);
  close_copies();
  wait_for_copies<0>();
  __syncthreads();
  std::uint32_t left[4], right[4];
  load_matrices(left, &rows[lane % 16][lane / 16 * 16]);
  load_matrices(right, &rows[16 + lane % 8][lane / 8 % 2 * 16]);
  std::int32_t sums[4] = {};
  multiply_add<a_is_signed>(sums, left, right[0], right[1]);
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

TEST(CudaOnCpu, MatrixInstructions) {
  std::mt19937 random(1);
  std::vector<std::uint8_t> a(16 * 32);
  std::vector<std::int8_t> b(8 * 32);
  for (auto& value : a) value = std::uint8_t(random());
  for (auto& value : b) value = std::int8_t(random());
  const DeviceArray<std::uint8_t> device_a(a.data(), a.size(), nullptr);
  const DeviceArray<std::int8_t> device_b(b.data(), b.size(), nullptr);
  const DeviceArray<std::int32_t> device_c(16 * 8, nullptr);
  for (const bool is_signed : {false, true}) {
    launch(is_signed ? multiply<true> : multiply<false>, 1, 32, 0, nullptr, device_a.data(), device_b.data(),
           device_c.data());
    const std::vector<std::int32_t> c = to_host(device_c);
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        int sum = 0;
        for (int k = 0; k < 32; ++k) {
          sum += (is_signed ? int(std::int8_t(a[row * 32 + k])) : int(a[row * 32 + k])) * b[column * 32 + k];
        }
        EXPECT_EQ(c[row * 8 + column], sum) << row << " " << column;
      }
    }
  }
}

__global__ void write_at(int* to, int place) { to[place] = 1; }
__global__ void half_a_barrier() {
  if (threadIdx.x < 16) __syncthreads();
  while (threadIdx.x >= 16) __syncwarp();
}
/// Without a barrier: right only if the lower warp runs first.
__global__ void race(int* to) {
  __shared__ int value;
  if (threadIdx.x == 0) value = 1;
  if (threadIdx.x == 32) *to = value;
  __syncthreads();
  if (threadIdx.x == 0) value = 0;
}

TEST(CudaOnCpu, FindsFaults) {
  const DeviceArray<int> four(4, nullptr);
  int on_host = 0;
  EXPECT_DEATH(launch(write_at, 1, 1, 0, nullptr, four.data(), 4), "");
  EXPECT_DEATH(launch(write_at, 1, 1, 0, nullptr, &on_host, 0), "not the device's");
  EXPECT_DEATH(launch(half_a_barrier, 1, 32, 0, nullptr), "barrier");
  EXPECT_THROW(launch(write_at, 1, 2048, 0, nullptr, four.data(), 0), Error);
  EXPECT_THROW(launch(write_at, 1, 1, 64 << 10, nullptr, four.data(), 0), Error);
  std::vector<int> seen(2);
  for (unsigned seed = 0; seed < 20; ++seed) {
    cuda_on_cpu::set_seed(seed);
    launch(race, 1, 64, 0, nullptr, four.data());
    ++seen[std::size_t(to_host(four)[0])];
  }
  EXPECT_GT(seen[0], 0);
  EXPECT_GT(seen[1], 0);
}

TEST(CudaOnCpu, MemoryEnds) {
  cuda_on_cpu::set_device(1, 1 << 20);
  EXPECT_THROW(DeviceArray<char>(2 << 20, nullptr), Error);
  {
    const DeviceArray<char> half(1 << 19, nullptr);
    EXPECT_EQ(cuda_on_cpu::allocated(), std::size_t(1 << 19));
  }
  EXPECT_EQ(cuda_on_cpu::allocated(), 0u);
  cuda_on_cpu::set_device(1, std::size_t(4) << 30);
}

TEST(CudaOnCpu, EmulationGivesMemoryBackAndEndsWithIt) {
  const TestLayer layer = make_layer(64, {256, 8, 8});
  const auto walker = make_cuda_walker();
  for (const Design design : {Design::pragmatic, Design::bitwave, Design::laconic}) {
    const Accelerator accelerator = array(design, 16, 16, 16);
    emulate(accelerator, layer.tensors(), walker.get());
    EXPECT_EQ(cuda_on_cpu::allocated(), 0u);
    cuda_on_cpu::set_device(1, 40 << 10);  // the layer's weights or activations fit, but not the design's table
    EXPECT_THROW(emulate(accelerator, layer.tensors(), walker.get()), Error);
    EXPECT_EQ(cuda_on_cpu::allocated(), 0u);
    cuda_on_cpu::set_device(1, std::size_t(4) << 30);
  }
}

}  // namespace
}  // namespace bitcluster
