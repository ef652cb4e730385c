#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace bitcluster {

/// Where the failures of all ranks end: the root prints the first that it learns of, its own or one that another rank
/// hands to it, and ends all ranks with a non-zero status. Whatever the ranks meet, one at a time or all at once, one
/// message is printed. A thread of the root listens, so that it does not matter what the root is doing.
class FailureDesk {
 public:
  /// Of a rank; all of them have one. MPI must serve several threads if there are several ranks.
  FailureDesk(int rank, int size);
  /// After this no rank may fail.
  ~FailureDesk();
  FailureDesk(const FailureDesk&) = delete;
  FailureDesk& operator=(const FailureDesk&) = delete;

  /// message: what to print.
  [[noreturn]] void report(const std::string& message);
  /// The same on a rank that is not the root, where the root reports this failure itself.
  [[noreturn]] void wait_for_root(const std::string& message);

 private:
  void listen();
  [[noreturn]] void print(const std::string& message);

  int rank_, size_;
  std::mutex printing_;  //!< kept for good by the first that prints
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;
  std::thread listener_;  //!< on the root
};

/// Ends `size` ranks, all there are, at once with a non-zero status.
[[noreturn]] void end_ranks(int size);

}  // namespace bitcluster
