#pragma once

#include <mpi.h>

#include <source_location>
#include <string>

#include "host/base/error.hpp"

namespace bitcluster {

/// What messages between two ranks are about.
enum MessageTag : int {
  result_tag = 1,  //!< to the root, see distribute.cpp
  task_tag,        //!< from the root
  failure_tag      //!< to the root, see failures.cpp
};

/// Error for a failed call of MPI.
inline void check(int status, std::source_location where = std::source_location::current()) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw Error(std::string("an MPI call failed in ") + where.function_name(), std::string(text, length),
              "check the MPI installation and the network between the nodes");
}

}  // namespace bitcluster
