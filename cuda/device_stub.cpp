#include "cuda/device.hpp"
#include "cuda/emulation.hpp"
#include "host/error.hpp"

namespace bitcluster {
namespace {
constexpr const char* no_cuda = "this program was built without CUDA (no nvcc was found by CMake)";
}

DeviceReport find_devices() { return {{}, no_cuda}; }

std::unique_ptr<Walker> make_cuda_walker(int, std::int64_t) {
  throw Error("emulation on a GPU is not possible", no_cuda, "use --backend cpu, or build with CUDA");
}

}  // namespace bitcluster
