#include "harness/task_queue.hpp"

#include <algorithm>

namespace bitcluster {

/// Tasks per rank among which others of a kind are looked for: few enough for the order to remain, enough for ranks to
/// keep their kind for a while. Chosen by replays of --plan: see analysis/benchmarks.md.
constexpr long window_per_rank = 4;

TaskQueue::TaskQueue(const std::vector<int>& kinds, int ranks)
    : kinds_(kinds), window_(window_per_rank * ranks), gone_(kinds.size()), left_(long(kinds.size())) {
  const int most = kinds.empty() ? -1 : *std::max_element(kinds.begin(), kinds.end());
  of_kind_.resize(most + 1);
  first_of_kind_.resize(most + 1);
  for (long task = 0; task < left_; ++task) {
    if (kinds[task] >= 0) of_kind_[kinds[task]].push_back(task);
  }
}

void TaskQueue::remove(long task) {
  left_ -= !gone_[task];
  gone_[task] = true;
}

long TaskQueue::take(int kind) {
  if (left_ == 0) return -1;
  while (gone_[first_]) ++first_;
  long task = first_;
  if (kind >= 0) {
    const std::vector<long>& same = of_kind_[kind];
    std::size_t& first = first_of_kind_[kind];
    while (first < same.size() && gone_[same[first]]) ++first;
    // towards the end the order counts: what is dear must not be left for last
    const long window = std::min(window_, left_ / 2);
    if (first < same.size() && same[first] - first_ < window) task = same[first];
  }
  remove(task);
  return task;
}

}  // namespace bitcluster
