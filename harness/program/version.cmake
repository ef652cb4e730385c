# Writes OUTPUT with the program's version and the git commit of SOURCE_DIR. Sources that are not as in that commit, or
# in none, are named by a checksum of their own, so that two states of them never pass for one program.
file(GLOB_RECURSE sources ${SOURCE_DIR}/CMakeLists.txt ${SOURCE_DIR}/cuda/* ${SOURCE_DIR}/harness/* ${SOURCE_DIR}/host/*)
set(parts CMakeLists.txt cuda harness host)
set(commit "unknown")
set(changed TRUE)
find_package(Git QUIET)
if(GIT_FOUND)
  execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse --short=12 HEAD
    WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE status ERROR_QUIET)
  if(status EQUAL 0)
    execute_process(COMMAND ${GIT_EXECUTABLE} --no-optional-locks status --porcelain -- ${parts}
      WORKING_DIRECTORY ${SOURCE_DIR} OUTPUT_VARIABLE changes)
    if(changes)
      set(commit "${head}-dirty")
    else()
      set(commit "${head}")
      set(changed FALSE)
    endif()
  endif()
endif()
if(changed)
  set(checksums "")
  foreach(source ${sources})
    file(SHA256 ${source} checksum)
    file(RELATIVE_PATH name ${SOURCE_DIR} ${source})
    string(APPEND checksums "${checksum} ${name}\n")
  endforeach()
  string(SHA256 checksum "${checksums}")
  string(SUBSTRING ${checksum} 0 12 checksum)
  string(APPEND commit "-${checksum}")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [=[#include "harness/program/version.hpp"

namespace bitcluster {

const char* const program_version = "@VERSION@";
const char* const git_commit = "@commit@";

}  // namespace bitcluster
]=] @ONLY)
