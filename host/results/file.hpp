#pragma once

#include <string>

#include "host/results/results.hpp"

namespace bitcluster {

/// Writes durably: the target is replaced as a whole or left as it was. Error, with the system's reason, if that fails.
void write_results(const std::string& path, const Results& results);

/// Error if the file is unreadable, not a results file, or of another schema version.
Results read_results(const std::string& path);

}  // namespace bitcluster
