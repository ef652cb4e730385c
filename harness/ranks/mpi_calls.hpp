#pragma once

#include <mpi.h>

#include <string>

#include "host/base/error.hpp"

namespace bitcluster {

/// What messages between two ranks are about.
enum MessageTag : int {
  result_tag = 1,  //!< to the root, see distribute.cpp
  task_tag,        //!< from the root
  failure_tag      //!< to the root, see failures.cpp
};

/// Error for a failed call of MPI. where: the function that makes it, by the builtin of g++ and clang, since clang 14
/// has no std::source_location.
inline void check(int status, const char* where = __builtin_FUNCTION()) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw Error(std::string("an MPI call failed in ") + where, std::string(text, length),
              "check the MPI installation and the network between the nodes");
}

}  // namespace bitcluster
