#include "cuda/device.hpp"
#include "cuda/quantize.hpp"
#include "host/error.hpp"

namespace bitcluster {
namespace {

[[noreturn]] void reject() {
  throw Error("cannot use a GPU", "this program was built without CUDA (no nvcc was found by CMake)",
              "use --backend cpu, or build with CUDA");
}

}  // namespace

DeviceReport find_devices() { return {{}, "this program was built without CUDA (no nvcc was found by CMake)"}; }

QuantizedWeights quantize_on_device(std::span<const float>, int, const WeightFormat&, std::span<const float>) {
  reject();
}
QuantizationTimes time_quantization(std::span<const float>, int, const WeightFormat&) { reject(); }

}  // namespace bitcluster
