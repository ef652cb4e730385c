#pragma once

#include <string>
#include <vector>

namespace bitcluster {

/// The CUDA devices that this process can use.
struct DeviceReport {
  std::vector<std::string> devices;  //!< name, total memory and compute capability of each
  std::string reason;  //!< why there is none: not built with CUDA, no driver, no device; empty if there is one
};

DeviceReport find_devices();

}  // namespace bitcluster
