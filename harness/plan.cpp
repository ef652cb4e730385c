#include "harness/plan.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

#include "harness/engine.hpp"
#include "harness/evaluator.hpp"
#include "harness/inputs.hpp"
#include "harness/study.hpp"
#include "harness/tiles.hpp"
#include "host/emulator.hpp"
#include "host/float_network.hpp"
#include "host/parallel.hpp"
#include "host/search.hpp"

namespace bitcluster {

Schedule simulate(std::span<const double> tasks, int ranks, const Overheads& overheads) {
  struct Event {
    double time;
    bool at_root;    // a worker's message, else the root itself is free
    double arrived;  // messages are answered in the order of arrival
    int rank;
    bool result;
    bool operator>(const Event& other) const {
      return std::tie(time, at_root, arrived, rank) > std::tie(other.time, other.at_root, other.arrived, other.rank);
    }
  };
  struct Worker {
    int asked = 0, busy = 0;
    double free = 0;
  };
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
  std::vector<Worker> workers(ranks);
  events.push({0, false, 0, 0, false});
  for (int rank = 1; rank < ranks; ++rank) {
    for (int i = 0; i < tasks_ahead; ++i) events.push({overheads.message, true, overheads.message, rank, false});
  }
  Schedule schedule;
  std::size_t next = 0;
  double served = 0;  // when the root can look at another message
  while (!events.empty()) {
    Event event = events.top();
    events.pop();
    if (!event.at_root) {
      if (next == tasks.size()) continue;
      const double end = event.time + tasks[next++];
      schedule.makespan = std::max(schedule.makespan, end);
      events.push({end, false, end, 0, false});
      continue;
    }
    if (event.time < served) {
      event.time = served;
      events.push(event);
      continue;
    }
    served = event.time + overheads.serve;
    Worker& worker = workers[event.rank];
    ++worker.asked;
    if (event.result) {
      --worker.busy;
      schedule.makespan = std::max(schedule.makespan, served);
    }
    while (worker.asked > 0 && next < tasks.size() && (worker.busy == 0 || tasks.size() - next >= std::size_t(ranks))) {
      worker.free = std::max(worker.free, served + overheads.message) + tasks[next++];
      const double arrival = worker.free + overheads.message;
      events.push({arrival, true, arrival, event.rank, true});
      ++worker.busy;
      --worker.asked;
    }
  }
  schedule.busy = std::accumulate(tasks.begin(), tasks.end(), 0.0);
  return schedule;
}

}  // namespace bitcluster
