#include "harness/ranks/task_queue.hpp"

#include <algorithm>
#include <utility>

namespace bitcluster {

/// Tasks per rank among which others of a kind are looked for: few enough for the order to remain, enough for ranks to
/// keep their kind for a while. Chosen by replays of --plan: see analysis/benchmarks.md.
constexpr long window_per_rank = 4;

/// The first task can wait for ranks that are prepared for others while all ranks have this many times its work before
/// them, and one rank gets it ahead of time while they have so many times: a dear task that is begun late is what all
/// others wait for in the end. Chosen likewise.
constexpr double slack_to_wait = 2, slack_ahead = 4;

TaskQueue::TaskQueue(std::vector<TaskTraits> tasks, int ranks)
    : tasks_(std::move(tasks)),
      ranks_(ranks),
      window_(window_per_rank * ranks),
      gone_(tasks_.size()),
      left_(long(tasks_.size())) {
  for (long task = 0; task < left_; ++task) {
    const auto& [cost, kind, group] = tasks_[task];
    cost_left_ += cost;
    if (kind < 0) continue;
    groups_ = std::max(groups_, group + 1);
    if (kind >= int(of_kind_.size())) of_kind_.resize(kind + 1);
    of_kind_[kind].push_back(task);
  }
  first_of_kind_.resize(of_kind_.size());
  prepared_.assign(std::size_t(ranks) * groups_, -1);
}

void TaskQueue::remove(long task) {
  if (gone_[task]) return;
  gone_[task] = true;
  --left_;
  cost_left_ -= tasks_[task].cost;
}

bool TaskQueue::hides_first(double slack) {
  while (gone_[first_]) ++first_;
  return cost_left_ > slack * tasks_[first_].cost * ranks_;
}

bool TaskQueue::enough_for_all() { return left_ >= ranks_ && hides_first(slack_ahead); }

long TaskQueue::take(int rank) {
  if (left_ == 0) return -1;
  long task = -1;
  if (hides_first(slack_to_wait)) {
    for (int group = 0; group < groups_; ++group) {
      const int kind = prepared_[std::size_t(rank) * groups_ + group];
      if (kind < 0) continue;
      const std::vector<long>& same = of_kind_[kind];
      std::size_t& first = first_of_kind_[kind];
      while (first < same.size() && gone_[same[first]]) ++first;
      if (first == same.size() || same[first] - first_ >= window_) continue;
      if (task < 0 || same[first] < task) task = same[first];
    }
  }
  if (task < 0) task = first_;
  remove(task);
  return task;
}

bool TaskQueue::begin(int rank, long task) {
  const auto& [cost, kind, group] = tasks_[task];
  if (kind < 0) return false;
  return std::exchange(prepared_[std::size_t(rank) * groups_ + group], kind) != kind;
}

}  // namespace bitcluster
