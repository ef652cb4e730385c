#include "cuda/backend.hpp"
#include "cuda/device.hpp"
#include "host/error.hpp"

namespace bitcluster {

DeviceReport find_devices() { return {{}, "this program was built without CUDA (no nvcc was found by CMake)"}; }

std::unique_ptr<Backend> make_cuda_backend(int) {
  throw Error("no GPU can be used", find_devices().reason, "install the CUDA toolkit and build again, or use the CPU");
}

}  // namespace bitcluster
