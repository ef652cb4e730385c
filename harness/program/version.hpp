#pragma once

namespace bitcluster {

extern const char* const program_version;  //!< of CMake's project()
extern const char* const
    git_commit;  //!< of the built sources, "-dirty" with uncommitted changes; "unknown" outside git

}  // namespace bitcluster
