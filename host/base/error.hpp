#pragma once

#include <stdexcept>
#include <string>

namespace bitcluster {

/// A failure that the user can act on. The message says what is wrong, why it is wrong and what to do.
/// Thrown anywhere, caught only by main(), which prints it and exits with a non-zero status.
class Error : public std::runtime_error {
 public:
  Error(const std::string& what_is_wrong, const std::string& why, const std::string& what_to_do)
      : std::runtime_error(what_is_wrong + ": " + why + "; " + what_to_do) {}
};

}  // namespace bitcluster
