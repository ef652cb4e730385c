#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/ranks/distribute.hpp"

namespace bitcluster {

/// A failure that the root has met, too, and reports.
class SharedFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class FailureDesk;

/// The MPI ranks of this run. Exactly one object lives, in main().
class Ranks {
 public:
  /// Starts MPI. Error if the MPI library cannot serve several threads, which the root has to report: a SharedFailure
  /// on the others.
  Ranks(int& argc, char**& argv);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  bool root() const { return rank_ == 0; }
  int local_rank() const { return local_rank_; }  //!< on this node
  int local_size() const { return local_size_; }
  const std::string& host() const { return host_; }

  /// Threads for this rank: the cores it may run on, shared with the other ranks of the node where they are not bound.
  int fair_threads() const;

  /// Runs every task once, on whichever rank is free, in about their order, and gives all results to all ranks in task
  /// order; those of tasks that were not needed any more are empty. Collective.
  /// After a signal that asks to stop (see interruption.hpp) on any rank, tasks that have begun are finished and kept,
  /// and Interrupted is thrown on all ranks.
  std::vector<Payload> distribute(const TaskList& list) const;

  /// Where a rank's share of `count` things begins, which ends where that of the next rank begins.
  long first_of(long count, int rank) const;

  /// One text of every rank, in rank order, on every rank.
  std::vector<std::string> gather(const std::string& text) const;
  std::vector<std::string> gather_on_node(const std::string& text) const;  //!< of the ranks of this node

  /// Runs `action` on the root. What it throws is thrown on all ranks, with the same message: a SharedFailure on the
  /// others.
  void on_root(const std::function<void()>& action) const;

  /// The same for an action that every rank runs: the message is that of the lowest rank that throws, and names it.
  void on_all(const std::function<void()>& action) const;

  /// Gives the root's bytes to all ranks, in messages of `chunk` bytes (MPI counts them in an int).
  void broadcast(std::span<std::byte> bytes, std::size_t chunk = std::size_t(1) << 30) const;

  /// The largest, and the sum, of every element over the ranks, on all of them.
  void largest(std::span<double> values) const;
  void sum(std::span<std::int64_t> counts) const;

  /// Part `rank` of `bytes`, from starts[rank] to starts[rank + 1], comes from that rank. Below 2 GiB.
  void join(std::span<std::byte> bytes, const std::vector<int>& starts) const;

  /// Ends all ranks at once with a non-zero status, after a failure on this one.
  [[noreturn]] void abort() const;

  /// The same with a message, one for all ranks that fail: the root prints the first failure that it learns of,
  /// whatever it is doing.
  [[noreturn]] void fail(const std::exception& error) const;

 private:
  void broadcast(std::vector<Payload>& payloads) const;

  int rank_ = 0, size_ = 1, local_rank_ = 0, local_size_ = 1;
  std::string host_;
  std::unique_ptr<FailureDesk> failures_;
};

}  // namespace bitcluster
