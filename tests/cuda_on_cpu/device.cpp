// The device behind cuda_runtime.h of this folder.

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "cuda_runtime.h"

namespace cuda_on_cpu {
namespace {

constexpr int warp_size = 32;
constexpr std::size_t stack_bytes = 128 << 10;
constexpr std::size_t default_shared_limit = 48 << 10;  // CUDA programming guide: without opting in
constexpr std::size_t largest_shared = 227 << 10;       // compute capability 9.0
constexpr unsigned most_threads = 1024;

// ---------------------------------------------------------------- threads of one block

enum class Wait { none, warp, block, done };

struct Copy {
  void* to;
  const void* from;
  int bytes;
};

struct Thread {
  ucontext_t first;  //!< how it starts
  jmp_buf place;     //!< where it goes on
  bool started = false;
  Wait wait = Wait::none;
  dim3 index;
  std::vector<Copy> open;                //!< started, not in a group yet
  std::deque<std::vector<Copy>> closed;  //!< groups, oldest first
};

struct Warp {
  // two generations: a lane may be one exchange ahead of the others
  alignas(64) unsigned char values[2][warp_size * exchange_stride];
  unsigned generation = 0;
  int arrived = 0, live = 0;
};

struct Stacks {
  char* memory = static_cast<char*>(mmap(nullptr, stack_bytes* most_threads, PROT_READ | PROT_WRITE,
                                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
};

struct Block {
  std::vector<Thread> threads{most_threads};
  std::vector<Warp> warps{most_threads / warp_size};
  jmp_buf scheduler;
  int current = -1;
  int live = 0, at_barrier = 0;
  const std::function<void()>* kernel = nullptr;
  std::vector<unsigned char> shared;
};

Block& block() {
  static Block the_block;
  return the_block;
}

std::mt19937& order() {
  static std::mt19937 generator(1);
  return generator;
}

void switch_away() {
  Thread& thread = block().threads[block().current];
  if (_setjmp(thread.place) == 0) _longjmp(block().scheduler, 1);
}

void run_thread() {
  (*block().kernel)();
  Thread& thread = block().threads[block().current];
  Warp& warp = block().warps[block().current / warp_size];
  thread.wait = Wait::done;
  --warp.live;
  --block().live;
  if (warp.arrived > 0 && warp.live > 0) fail("a lane left the kernel while others of its warp wait for it");
  _longjmp(block().scheduler, 1);
}

/// Runs one thread until it waits or ends.
void resume(int index) {
  Thread& thread = block().threads[index];
  block().current = index;
  threadIdx = thread.index;
  if (_setjmp(block().scheduler) != 0) return;
  if (thread.started) _longjmp(thread.place, 1);
  thread.started = true;
  setcontext(&thread.first);
}

/// Runs one warp until all its lanes wait for the block or have ended.
void run_warp(int warp, int lanes) {
  for (;;) {
    bool ran = false;
    const int rotation = int(order()() % unsigned(lanes));
    for (int i = 0; i < lanes; ++i) {
      const int index = warp * warp_size + (i + rotation) % lanes;
      if (block().threads[index].wait != Wait::none) continue;
      ran = true;
      resume(index);
    }
    if (!ran) return;
  }
}

void run_block(unsigned threads) {
  static const Stacks stacks;
  const int warps = int(threads + warp_size - 1) / warp_size;
  const auto lanes_of = [&](int warp) { return std::min(warp_size, int(threads) - warp * warp_size); };
  for (int warp = 0; warp < warps; ++warp) {
    block().warps[warp].generation = 0;
    block().warps[warp].arrived = 0;
    block().warps[warp].live = lanes_of(warp);
  }
  for (unsigned i = 0; i < threads; ++i) {
    Thread& thread = block().threads[i];
    thread.started = false;
    thread.wait = Wait::none;
    thread.open.clear();
    thread.closed.clear();
    thread.index = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
    getcontext(&thread.first);
    thread.first.uc_stack.ss_sp = stacks.memory + i * stack_bytes;
    thread.first.uc_stack.ss_size = stack_bytes;
    thread.first.uc_link = nullptr;
    makecontext(&thread.first, run_thread, 0);
  }
  block().live = int(threads);
  block().at_barrier = 0;
  while (block().live > 0) {
    const int rotation = int(order()() % unsigned(warps));
    for (int i = 0; i < warps; ++i) {
      const int warp = (i + rotation) % warps;
      run_warp(warp, lanes_of(warp));
    }
    if (block().live == 0) break;
    if (block().at_barrier != block().live) fail("a barrier that not every thread of the block or warp reaches");
    block().at_barrier = 0;
    for (unsigned t = 0; t < threads; ++t) {
      if (block().threads[t].wait == Wait::block) block().threads[t].wait = Wait::none;
    }
  }
}

// ---------------------------------------------------------------- memory

struct Allocation {
  std::size_t bytes;
  void* mapping;
  std::size_t mapped;
};

struct Memory {
  std::map<const char*, Allocation> allocations;
  std::size_t used = 0, total = std::size_t(4) << 30;
  int devices = 1;
};

Memory& memory() {
  static Memory the_memory;
  return the_memory;
}

std::map<const void*, std::size_t>& shared_limits() {
  static std::map<const void*, std::size_t> limits;
  return limits;
}

/// The bytes from `pointer` to the end of its allocation; fails for a pointer that is not the device's.
std::size_t bytes_behind(const void* pointer) {
  const char* place = static_cast<const char*>(pointer);
  auto found = memory().allocations.upper_bound(place);
  if (found == memory().allocations.begin()) fail("a pointer that is not the device's");
  --found;
  if (place > found->first + found->second.bytes) fail("a pointer that is not the device's");
  return std::size_t(found->first + found->second.bytes - place);
}

cudaError_t allocate(void** to, std::size_t bytes) {
  if (memory().used + bytes > memory().total) return cudaErrorMemoryAllocation;
  const std::size_t page = std::size_t(sysconf(_SC_PAGESIZE));
  const std::size_t aligned = (bytes + 15) / 16 * 16;  // the end of the allocation meets the guard page
  const std::size_t mapped = (aligned + page - 1) / page * page + page;
  char* mapping = static_cast<char*>(mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (mapping == MAP_FAILED) return cudaErrorMemoryAllocation;
  mprotect(mapping + mapped - page, page, PROT_NONE);
  std::memset(mapping, 0xcd, mapped - page);
  char* start = mapping + mapped - page - aligned;
  memory().allocations[start] = {bytes, mapping, mapped};
  memory().used += bytes;
  *to = start;
  return cudaSuccess;
}

cudaError_t release(void* pointer) {
  if (!pointer) return cudaSuccess;
  const auto found = memory().allocations.find(static_cast<char*>(pointer));
  if (found == memory().allocations.end()) fail("freed what was not allocated");
  memory().used -= found->second.bytes;
  munmap(found->second.mapping, found->second.mapped);
  memory().allocations.erase(found);
  return cudaSuccess;
}

}  // namespace

void fail(const char* what) {
  std::fprintf(stderr, "CUDA on the CPU: %s (block %u %u %u, thread %u %u %u)\n", what, blockIdx.x, blockIdx.y,
               blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
  std::abort();
}

void set_seed(unsigned seed) { order().seed(seed); }
void set_device(int count, std::size_t bytes) {
  memory().devices = count;
  memory().total = bytes;
}
std::size_t allocated() { return memory().used; }

std::size_t dynamic_shared_limit(const void* kernel) {
  const auto found = shared_limits().find(kernel);
  return found == shared_limits().end() ? default_shared_limit : found->second;
}
void set_dynamic_shared_limit(const void* kernel, std::size_t bytes) { shared_limits()[kernel] = bytes; }

void check_device_pointer(const void* pointer) {
  if (pointer) bytes_behind(pointer);
}

cudaError_t launch(const cudaLaunchConfig_t& config, std::size_t shared_limit, const std::function<void()>& kernel) {
  const dim3& grid = config.gridDim;
  const unsigned threads = config.blockDim.x * config.blockDim.y * config.blockDim.z;
  if (threads == 0 || threads > most_threads || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
      grid.z > 65535 || grid.x > 0x7fffffff || config.dynamicSmemBytes > std::min(shared_limit, largest_shared)) {
    return cudaErrorInvalidConfiguration;
  }
  gridDim = grid;
  blockDim = config.blockDim;
  block().kernel = &kernel;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z) {
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y) {
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        block().shared.assign(config.dynamicSmemBytes + 128, 0xcd);
        run_block(threads);
      }
    }
  }
  return cudaSuccess;
}

void* dynamic_shared() {
  const auto address = reinterpret_cast<std::uintptr_t>(block().shared.data());
  return block().shared.data() + (128 - address % 128) % 128;
}

void add_copy(void* to, const void* from, int bytes) {
  block().threads[block().current].open.push_back({to, from, bytes});
}
void close_copies() {
  Thread& thread = block().threads[block().current];
  thread.closed.push_back(std::move(thread.open));
  thread.open.clear();
}
void wait_for_copies(int pending) {
  Thread& thread = block().threads[block().current];
  for (; int(thread.closed.size()) > pending; thread.closed.pop_front()) {
    for (const Copy& copy : thread.closed.front()) {
      if (copy.from) {
        std::memcpy(copy.to, copy.from, std::size_t(copy.bytes));
      } else {
        std::memset(copy.to, 0, std::size_t(copy.bytes));
      }
    }
  }
}

int lane() { return block().current % warp_size; }

void wait_for_block() {
  block().threads[block().current].wait = Wait::block;
  ++block().at_barrier;
  switch_away();
}

const unsigned char* exchange(const void* mine, std::size_t bytes) {
  const int index = block().current;
  Warp& warp = block().warps[index / warp_size];
  if (warp.live != warp_size) fail("a warp operation after a lane has left the kernel, or in a partial warp");
  unsigned char* values = warp.values[warp.generation % 2];
  std::memcpy(values + index % warp_size * exchange_stride, mine, bytes);
  if (++warp.arrived == warp.live) {
    warp.arrived = 0;
    ++warp.generation;
    for (int lane = 0; lane < warp_size; ++lane) {
      Thread& thread = block().threads[index / warp_size * warp_size + lane];
      if (thread.wait == Wait::warp) thread.wait = Wait::none;
    }
  } else {
    block().threads[index].wait = Wait::warp;
    switch_away();
  }
  return values;
}

void wait_for_warp() {
  const unsigned char nothing = 0;
  exchange(&nothing, 1);
}

}  // namespace cuda_on_cpu

using cuda_on_cpu::memory;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorNotReady:
      return "device not ready";
  }
  return "unknown error";
}
const char* cudaGetErrorName(cudaError_t error) { return cudaGetErrorString(error); }
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = memory().devices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device >= 0 && device < memory().devices ? cudaSuccess : cudaErrorInvalidDevice;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  *properties = {};
  properties->uuid.bytes[0] = char(device);
  std::snprintf(properties->name, sizeof properties->name, "kernels on the CPU");
  properties->totalGlobalMem = memory().total;
  properties->major = 9;
  properties->multiProcessorCount = 4;
  properties->sharedMemPerBlockOptin = cuda_on_cpu::largest_shared;
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = memory().total;
  *free = memory().total - std::min(memory().used, memory().total);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  *pool = nullptr;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return cudaSuccess; }
cudaError_t cudaMalloc(void** to, std::size_t bytes) { return cuda_on_cpu::allocate(to, bytes); }
cudaError_t cudaFree(void* pointer) { return cuda_on_cpu::release(pointer); }
cudaError_t cudaMallocAsync(void** to, std::size_t bytes, cudaStream_t) { return cuda_on_cpu::allocate(to, bytes); }
cudaError_t cudaFreeAsync(void* pointer, cudaStream_t) { return cuda_on_cpu::release(pointer); }
cudaError_t cudaMallocHost(void** to, std::size_t bytes) {
  *to = std::malloc(bytes ? bytes : 1);
  return *to ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFreeHost(void* pointer) {
  std::free(pointer);
  return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (bytes == 0) return cudaSuccess;
  if ((to_device && cuda_on_cpu::bytes_behind(to) < bytes) ||
      (from_device && cuda_on_cpu::bytes_behind(from) < bytes)) {
    return cudaErrorInvalidValue;
  }
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
  if (bytes > 0 && cuda_on_cpu::bytes_behind(to) < bytes) return cudaErrorInvalidValue;
  std::memset(to, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
  return cudaMemset(to, value, bytes);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = nullptr;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = nullptr;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return cudaSuccess;
}
