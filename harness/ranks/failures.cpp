#include "harness/ranks/failures.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "harness/ranks/mpi_calls.hpp"
#include "host/base/parallel.hpp"
#include "host/base/printable.hpp"

namespace bitcluster {
namespace {

/// Between the root's looks for failures of other ranks: a blocking receive would keep one of its cores busy.
constexpr std::chrono::milliseconds listen_interval{50};

/// The root prints and ends this rank within moments. Only where it cannot, because it hangs or its machine is gone,
/// does a rank that has failed print its message itself after this time, so that no run stays for ever.
constexpr std::chrono::seconds longest_wait{30};

}  // namespace

FailureDesk::FailureDesk(int rank, int size) : rank_(rank), size_(size) {
  if (rank_ == 0 && size_ > 1) listener_ = start_thread([this] { listen(); });
}

FailureDesk::~FailureDesk() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  stop_.notify_all();
  if (listener_.joinable()) listener_.join();
}

// Results of MPI calls are not looked at here: there is nobody left to tell, and the wait is bounded.

void FailureDesk::listen() {
  std::unique_lock lock(mutex_);
  while (!stop_.wait_for(lock, listen_interval, [&] { return stopped_; })) {
    int waiting = 0, length = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, failure_tag, MPI_COMM_WORLD, &waiting, &status);
    if (!waiting) continue;
    MPI_Get_count(&status, MPI_CHAR, &length);
    std::string message(length, ' ');
    MPI_Recv(message.data(), length, MPI_CHAR, status.MPI_SOURCE, failure_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    print(message);
  }
}

void FailureDesk::report(const std::string& message) {
  if (rank_ == 0) print(message);
  MPI_Request request;
  MPI_Isend(message.data(), int(message.size()), MPI_CHAR, 0, failure_tag, MPI_COMM_WORLD, &request);
  const auto end = std::chrono::steady_clock::now() + longest_wait;
  for (int sent = 0; std::chrono::steady_clock::now() < end;) {
    if (!sent) MPI_Test(&request, &sent, MPI_STATUS_IGNORE);  // long messages need it
    std::this_thread::sleep_for(listen_interval);
  }
  print(message);
}

void FailureDesk::wait_for_root(const std::string& message) {
  std::this_thread::sleep_for(longest_wait);
  print(message);
}

void FailureDesk::print(const std::string& message) {
  printing_.lock();
  fmt::print(stderr, "{}\n", printable(message));
  end_ranks(size_);
}

void end_ranks(int size) {
  std::fflush(stderr);
  if (size > 1) MPI_Abort(MPI_COMM_WORLD, 1);
  std::_Exit(1);
}

}  // namespace bitcluster
