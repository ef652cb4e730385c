#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "harness/ranks/task_queue.hpp"

namespace bitcluster {

/// What a task computed, as bytes; every rank must be able to read it.
using Payload = std::vector<std::byte>;

/// Tasks that a rank has at once while there are enough for all, so that the next one is there when one ends.
inline constexpr int tasks_ahead = 2;

/// Tasks for whichever rank is free, see Ranks::distribute().
struct TaskList {
  long tasks = 0;
  std::function<Payload(long task)> work;  //!< must give the same bytes on any rank

  // On the root, from one thread at a time:
  std::function<void(double done)> done;                        //!< sees what the finished tasks cost; may be empty
  std::function<std::optional<Payload>(long task)> find;        //!< what is known already; may be empty
  std::function<void(long task, const Payload& payload)> keep;  //!< sees every new result; may be empty
  std::function<bool(long task)> needed = {};  //!< whether a task that nobody has begun is still wanted; empty: always
  std::vector<TaskTraits> traits = {};         //!< of every task; empty: all are alike
};

}  // namespace bitcluster
