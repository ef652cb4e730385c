#pragma once

#include <string>
#include <vector>

#include "host/emulation/accelerator.hpp"

namespace bitcluster {

/// An accelerator as its TOML file in configs/accelerators/ describes it. Error for an unreadable file, an unknown or
/// misspelled key (also one that the design has no use for), an impossible value.
Accelerator load_accelerator(const std::string& path);

/// The file that it includes, which holds what designs in one technology share.
std::string technology_file(const std::string& path);

/// Several, to be compared. Error also for two of one name, by which tables tell them apart.
std::vector<Accelerator> load_accelerators(const std::vector<std::string>& paths);

}  // namespace bitcluster
