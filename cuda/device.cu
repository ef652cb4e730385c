#include <cuda_runtime.h>

#include "cuda/device.hpp"

namespace bitcluster {

DeviceReport find_devices() {
  DeviceReport report;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    report.reason = status == cudaErrorInsufficientDriver
                        ? "there is no NVIDIA driver, or one too old for CUDA " + std::to_string(CUDART_VERSION / 1000)
                        : cudaGetErrorString(status);
    return report;
  }
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    if (const cudaError_t failure = cudaGetDeviceProperties(&properties, device); failure != cudaSuccess) {
      return {{}, cudaGetErrorString(failure)};
    }
    report.devices.push_back(std::string(properties.name) + ", " + std::to_string(properties.totalGlobalMem >> 20) +
                             " MiB, compute capability " + std::to_string(properties.major) + "." +
                             std::to_string(properties.minor));
    report.ids.emplace_back(properties.uuid.bytes, sizeof properties.uuid.bytes);
  }
  if (report.devices.empty()) report.reason = "the driver reports no usable device";
  return report;
}

}  // namespace bitcluster
