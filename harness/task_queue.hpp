#pragma once

#include <cstddef>
#include <vector>

namespace bitcluster {

/// What has not been handed out yet of a list of tasks, which are in the order in which they had best be done. A rank
/// that has prepared for a task of one kind gets others of that kind as long as they are not far behind the first.
class TaskQueue {
 public:
  /// kinds: of every task, from 0 on; -1: of no kind.
  TaskQueue(const std::vector<int>& kinds, int ranks);

  long left() const { return left_; }
  int kind(long task) const { return kinds_[task]; }

  /// The task is not to be handed out.
  void remove(long task);

  /// The next task for a rank whose last one was of this kind (-1: none), which is removed; -1 if none is left.
  long take(int kind);

 private:
  std::vector<int> kinds_;
  long window_;
  std::vector<std::vector<long>> of_kind_;  // tasks, in order
  std::vector<std::size_t> first_of_kind_;  // that may not be gone
  std::vector<char> gone_;
  long first_ = 0, left_;
};

}  // namespace bitcluster
