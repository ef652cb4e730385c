#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace bitcluster {

/// Bytes of a device's UUID.
inline constexpr std::size_t device_id_size = 16;

/// The CUDA devices that this process can use.
struct DeviceReport {
  std::vector<std::string> devices;  //!< name, total memory and compute capability of each
  std::string reason;  //!< why there is none: not built with CUDA, no driver, no device; empty if there is one
  std::vector<std::string> ids = {};  //!< UUID of each: the same in every process that sees it
};

DeviceReport find_devices();

}  // namespace bitcluster
