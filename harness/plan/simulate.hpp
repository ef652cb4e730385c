#pragma once

#include <span>

#include "harness/ranks/task_queue.hpp"

namespace bitcluster {

/// What handing out a task costs beside the task itself [s].
struct Overheads {
  double message =
      0;             //!< from a worker's question until the root looks at it, and from the root's answer to the worker
  double serve = 0;  //!< of the root for one question: it answers one at a time
};

/// How long a task takes [s].
struct TaskTime {
  double work = 0;
  double preparation = 0;  //!< where the rank is not prepared for its kind
  TaskTraits traits;       //!< as the scheduler sees it
};

struct SimulatedRun {
  double makespan = 0;  //!< from the first question to the last result [s]
  double busy = 0;      //!< of all ranks together [s]
};

/// What Ranks::distribute() makes of these tasks in this order: the root works on tasks while it answers the others,
/// which have one task ahead as long as there are enough for all.
SimulatedRun simulate(std::span<const TaskTime> tasks, int ranks, const Overheads& overheads);

}  // namespace bitcluster
