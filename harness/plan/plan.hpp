#pragma once

#include <span>
#include <string>
#include <vector>

#include "harness/ranks/ranks.hpp"
#include "harness/study/config.hpp"
#include "host/emulation/accelerator.hpp"

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

struct Schedule {
  double makespan = 0;  //!< from the first question to the last result [s]
  double busy = 0;      //!< of all ranks together [s]
};

/// What Ranks::distribute() makes of these tasks in this order: the root works on tasks while it answers the others,
/// which have one task ahead as long as there are enough for all.
Schedule simulate(std::span<const TaskTime> tasks, int ranks, const Overheads& overheads);

/// Measures on this machine what the tasks of a study cost, and prints what it would take on these numbers of ranks:
/// wall time, parallel efficiency, memory. The images count as present if the config says how many there are.
/// Collective. accelerators: of one basis of comparison; bases: how many the study emulates, 0 for a search alone.
void plan(const Ranks& ranks, const Config& config, const std::vector<Accelerator>& accelerators, int bases,
          const std::string& backend, const std::vector<int>& rank_counts);

}  // namespace bitcluster
