#include "harness/plan/simulate.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <tuple>
#include <vector>

#include "harness/ranks/distribute.hpp"

namespace bitcluster {

SimulatedRun simulate(std::span<const TaskTime> tasks, int ranks, const Overheads& overheads) {
  struct Event {
    double time;
    bool at_root;  // a worker's message, else the root itself is free
    int rank;
    bool result;
    bool operator>(const Event& other) const {
      return std::tie(time, at_root, rank) > std::tie(other.time, other.at_root, other.rank);
    }
  };
  struct Worker {
    int asked = 0, busy = 0;
    double free = 0;
  };
  std::vector<TaskTraits> traits;
  for (const TaskTime& task : tasks) traits.push_back(task.traits);
  TaskQueue queue(std::move(traits), ranks);
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  std::vector<Worker> workers(ranks);
  events.push({0, false, 0, false});
  for (int rank = 1; rank < ranks; ++rank) {
    for (int i = 0; i < tasks_ahead; ++i) events.push({overheads.message, true, rank, false});
  }
  SimulatedRun run;
  /// Seconds of the next task for a rank.
  const auto take = [&](int rank) {
    const long task = queue.take(rank);
    const double seconds = tasks[task].work + (queue.begin(rank, task) ? tasks[task].preparation : 0);
    run.busy += seconds;
    return seconds;
  };
  double served = 0;          // when the root can look at another message
  std::queue<Event> waiting;  // messages at the root
  while (!events.empty() || !waiting.empty()) {
    const double start = waiting.empty() ? 0 : std::max(waiting.front().time, served);
    const bool serves = !waiting.empty() && (events.empty() || start < events.top().time ||
                                             (start == events.top().time && events.top().at_root));
    if (!serves) {
      const Event event = events.top();
      events.pop();
      if (event.at_root) {
        waiting.push(event);
        continue;
      }
      if (queue.left() == 0) continue;
      const double end = event.time + take(0);
      run.makespan = std::max(run.makespan, end);
      events.push({end, false, 0, false});
      continue;
    }
    const Event event = waiting.front();
    waiting.pop();
    served = start + overheads.serve;
    Worker& worker = workers[event.rank];
    ++worker.asked;
    if (event.result) {
      --worker.busy;
      run.makespan = std::max(run.makespan, served);
    }
    while (worker.asked > 0 && queue.left() > 0 && (worker.busy == 0 || queue.enough_for_all())) {
      worker.free = std::max(worker.free, served + overheads.message) + take(event.rank);
      events.push({worker.free + overheads.message, true, event.rank, true});
      ++worker.busy;
      --worker.asked;
    }
  }
  return run;
}

}  // namespace bitcluster
