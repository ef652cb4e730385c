#pragma once

#include <cstdlib>
#include <filesystem>

namespace bitcluster {

/// Folder with real data and trained networks that is not part of the project: $BITCLUSTER_SHARED or ../shared beside
/// the source tree. Empty if it is not there; tests that need it then skip.
inline std::filesystem::path shared_folder() {
  const char* variable = std::getenv("BITCLUSTER_SHARED");
  const std::filesystem::path folder =
      variable ? std::filesystem::path(variable) : std::filesystem::path(BITCLUSTER_SOURCE_DIR) / ".." / "shared";
  return std::filesystem::exists(folder / "models") ? folder : std::filesystem::path();
}

}  // namespace bitcluster
