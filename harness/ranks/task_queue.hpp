#pragma once

#include <cstddef>
#include <vector>

namespace bitcluster {

/// By what tasks are handed out.
struct TaskTraits {
  double cost = 1;  //!< in any unit
  int kind = -1;    //!< tasks of one kind need the same preparation, from 0 on; -1: they need none
  int group = 0;    //!< of the kind: a rank is prepared for one kind of every group
};

/// What has not been handed out yet of a list of tasks, which are in the order in which they had best be done. A rank
/// gets tasks that it is prepared for as long as they are not far behind the first, and the first can wait.
class TaskQueue {
 public:
  TaskQueue(std::vector<TaskTraits> tasks, int ranks);

  long left() const { return left_; }
  double cost(long task) const { return tasks_[task].cost; }

  /// Whether so much is left that a rank may take the first task before it has time for it, while others have none.
  bool enough_for_all();

  /// The task is not to be handed out.
  void remove(long task);

  /// The best task for a rank, which is removed; -1 if none is left.
  long take(int rank);

  /// The rank works on this task from now on. Whether it has to prepare for it.
  bool begin(int rank, long task);

 private:
  /// Whether every rank has more than `slack` times the first task's work before it. There must be one left.
  bool hides_first(double slack);

  std::vector<TaskTraits> tasks_;
  int ranks_, groups_ = 0;
  long window_;
  std::vector<std::vector<long>> of_kind_;  // tasks, in order
  std::vector<std::size_t> first_of_kind_;  // that may not be gone
  std::vector<char> gone_;
  std::vector<int> prepared_;  // (ranks, groups): kinds, -1: none
  long first_ = 0, left_;
  double cost_left_ = 0;
};

}  // namespace bitcluster
