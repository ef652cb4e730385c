# Writes OUTPUT with the program's version and the git commit of SOURCE_DIR.
set(commit "unknown")
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} describe --always --dirty --abbrev=12 --match=none
    WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status ERROR_QUIET)
  if(status EQUAL 0)
    set(commit "${described}")
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [=[#include "harness/program/version.hpp"

namespace bitcluster {

const char* const program_version = "@VERSION@";
const char* const git_commit = "@commit@";

}  // namespace bitcluster
]=] @ONLY)
