// What cuda/ offers, in a build without nvcc.

#include "cuda/backend.hpp"
#include "cuda/device.hpp"
#include "cuda/emulation.hpp"
#include "cuda/quantize.hpp"
#include "host/base/error.hpp"

namespace bitcluster {
namespace {

constexpr const char* no_cuda = "this program was built without CUDA (no nvcc was found by CMake)";

[[noreturn]] void reject() {
  throw Error("no GPU can be used", no_cuda, "install the CUDA toolkit and build again, or use --backend cpu");
}

}  // namespace

DeviceReport find_devices() { return {{}, no_cuda}; }

std::unique_ptr<Backend> make_cuda_backend(int, double) { reject(); }

QuantizedWeights quantize_on_device(std::span<const float>, int, const WeightFormat&, std::span<const float>) {
  reject();
}
QuantizationTimes time_quantization(std::span<const float>, int, const WeightFormat&) { reject(); }

std::unique_ptr<StepCounter> make_cuda_step_counter(int, std::int64_t) { reject(); }

}  // namespace bitcluster
