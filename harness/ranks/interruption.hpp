#pragma once

#include <exception>

namespace bitcluster {

/// From now on SIGTERM and SIGUSR1 (what batch systems send before a job's time is over) ask this process to stop when
/// the work that has begun is finished, instead of ending it.
void catch_interruptions();

/// Whether such a signal has come.
bool interruption_asked();

/// Thrown on all ranks when work stopped for such a signal; everything finished is recorded.
class Interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "stopped by a signal; go on with --resume"; }
};

/// Exit status after Interrupted: EX_TEMPFAIL of sysexits.h, "try again later".
inline constexpr int interrupted_status = 75;

}  // namespace bitcluster
