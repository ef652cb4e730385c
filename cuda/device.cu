#include <cuda_runtime.h>

#include "cuda/device.hpp"

namespace bitcluster {

DeviceReport find_devices() {
  DeviceReport report;
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    report.reason = cudaGetErrorString(status);
    return report;
  }
  for (int device = 0; device < count; ++device) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
    report.devices.push_back(std::string(properties.name) + ", " + std::to_string(properties.totalGlobalMem >> 20) +
                             " MiB, compute capability " + std::to_string(properties.major) + "." +
                             std::to_string(properties.minor));
  }
  if (report.devices.empty()) report.reason = "the driver reports no usable device";
  return report;
}

}  // namespace bitcluster
