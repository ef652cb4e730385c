// The device made of this process (tests/cuda_on_cpu) against what the CUDA programming guide and the PTX ISA say.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "cuda/backend.hpp"
#include "cuda/emulation.hpp"
#include "cuda/instructions.cuh"
#include "cuda/runtime.cuh"
#include "tests/naive_integer.hpp"
#include "tests/network_builder.hpp"
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

__global__ void high_words(int* words, double* doubles) {
  doubles[threadIdx.x] = __hiloint2double(words[threadIdx.x], 0);
}

TEST(CudaOnCpu, WordsOfDoubles) {
  // IEEE 754: exponents 1023, 1024 and 1026, then the mantissa's first 20 bits
  const std::vector<int> words = {0, 0x3ff00000, 0x40080000, 0x40240000};
  const DeviceArray<int> from(words.data(), words.size(), nullptr);
  const DeviceArray<double> to(words.size(), nullptr);
  launch(high_words, 1, 4, 0, nullptr, from.data(), to.data());
  EXPECT_EQ(to_host(to), (std::vector<double>{0, 1, 3, 10}));
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

// A device so small that images go through in many chunks, and smaller ones that the network does not fit.
TEST(CudaOnCpu, BackendFitsItsMemory) {
  NetworkBuilder builder(1, {3, 11, 12});
  const Window same{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  int layer = builder.convolution(0, 16, same);
  for (int i = 0; i < 3; ++i) {
    const int next = builder.convolution(layer, 16, same, 1, 8, true);
    layer = builder.add_relu(next, layer);
  }
  builder.fully_connected(builder.global_average(layer), 10);
  const int count = 7;
  const std::vector<std::uint8_t> pixels = builder.images(count);
  const std::vector<Variant> variants = {{}, {{1, builder.random_weights(1, 5)}}, {{2, builder.random_weights(2, 5)}}};
  std::vector<float> expected, logits(variants.size() * count * 10);
  for (const Variant& variant : variants) {
    const std::vector<float> part = naive::evaluate(builder.network(), variant, pixels.data(), count);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  std::size_t needed = 0;
  for (std::size_t memory = 1 << 20; memory > 1000; memory = memory * 2 / 3) {
    cuda_on_cpu::set_device(1, memory);
    try {
      const auto backend = make_cuda_backend(0);
      backend->load(builder.network());
      for (int again = 0; again < 2; ++again) {
        std::fill(logits.begin(), logits.end(), -1.0f);
        backend->evaluate({pixels.data(), count}, variants, logits);
        EXPECT_EQ(logits, expected) << memory << " bytes";
      }
      needed = memory;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("does not fit the GPU"), std::string::npos) << error.what();
    }
    EXPECT_EQ(cuda_on_cpu::allocated(), 0u) << "leaked with " << memory << " bytes";
  }
  EXPECT_GT(needed, std::size_t(1000));       // the smallest were refused
  EXPECT_LT(needed, std::size_t(200) << 10);  // weights take 32 KiB, an image 20 KiB
  cuda_on_cpu::set_device(1, needed);         // not enough for two
  EXPECT_THROW(
      {
        const auto backend = make_cuda_backend(0, 0.5);
        backend->load(builder.network());
        backend->evaluate({pixels.data(), count}, variants, logits);
      },
      Error);
  cuda_on_cpu::set_device(0, std::size_t(4) << 30);
  EXPECT_THROW(make_cuda_backend(0), Error);
  cuda_on_cpu::set_device(1, std::size_t(4) << 30);
}

TEST(CudaOnCpu, EmulationGivesMemoryBackAndEndsWithIt) {
  const TestLayer layer = make_layer(64, {256, 8, 8});
  const auto counter = make_cuda_step_counter();
  for (const char* design : {"pragmatic", "bitwave", "laconic"}) {
    const Accelerator accelerator = array(design, 16, 16, 16);
    emulate(accelerator, layer.tensors(), counter.get());
    EXPECT_EQ(cuda_on_cpu::allocated(), 0u);
    cuda_on_cpu::set_device(1, 40 << 10);  // the layer's weights or activations fit, but not the design's table
    EXPECT_THROW(emulate(accelerator, layer.tensors(), counter.get()), Error);
    EXPECT_EQ(cuda_on_cpu::allocated(), 0u);
    cuda_on_cpu::set_device(1, std::size_t(4) << 30);
  }
}

}  // namespace
}  // namespace bitcluster
