#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstring>
#include <mutex>
#include <numeric>
#include <thread>

#include "harness/ranks/interruption.hpp"
#include "harness/ranks/mpi_calls.hpp"
#include "harness/ranks/ranks.hpp"
#include "host/base/error.hpp"
#include "host/base/parallel.hpp"

namespace bitcluster {
namespace {

// Messages of distribute(): a worker asks for its first tasks with empty messages, then with the result of every task
// that it has done; a trailer behind the result says which. It gets one answer for each: a task, or that there is none.
constexpr long no_task = -1;

struct Trailer {
  long task;
  long asked_to_stop;
};

/// Pauses of the root between looks for messages, doubled while nothing comes: a blocking receive would keep one of its
/// cores busy, and every look takes time from its own tasks.
constexpr std::chrono::microseconds shortest_pause{50}, longest_pause{800};

/// Serves the other ranks from a thread of the root while the root itself works.
class Coordinator {
 public:
  Coordinator(int workers, const TaskList& list, std::vector<Payload>& results)
      : open_(tasks_ahead * workers),
        workers_(workers + 1),
        list_(list),
        results_(results),
        queue_(list.traits.empty() ? std::vector<TaskTraits>(std::size_t(list.tasks)) : list.traits, workers + 1) {
    for (long task = 0; list.find && task < list.tasks; ++task) {
      if (auto payload = list.find(task)) {
        results_[task] = std::move(*payload);
        queue_.remove(task);
        count(task);
      }
    }
    if (open_ > 0) thread_ = start_thread([this] { serve(); });
  }
  /// Without a wait() the root has failed, which is the end of the other ranks: they get no more answers.
  ~Coordinator() {
    abandoned_ = true;
    if (thread_.joinable()) thread_.join();
  }
  Coordinator(const Coordinator&) = delete;
  Coordinator& operator=(const Coordinator&) = delete;

  /// The next task for a rank, the root by default; the number of tasks if there is none.
  long take(int rank = 0) {
    const std::lock_guard lock(mutex_);
    while (queue_.left() > 0 && !stopped_ && !interruption_asked()) {
      const long task = queue_.take(rank);
      if (!list_.needed || list_.needed(task)) {
        queue_.begin(rank, task);
        return task;
      }
      count(task);
    }
    return list_.tasks;
  }

  void finish(long task, Payload payload) {
    const std::lock_guard lock(mutex_);
    if (list_.keep) list_.keep(task, payload);
    results_[task] = std::move(payload);
    count(task);
  }

  void wait() {
    if (thread_.joinable()) thread_.join();
    if (failure_) std::rethrow_exception(failure_);
  }

  bool complete() const { return finished_ == list_.tasks; }

 private:
  struct Worker {
    int asked = 0;  // for tasks, without an answer
    int busy = 0;   // tasks that it has
  };

  void count(long task) {
    ++finished_;
    cost_finished_ += queue_.cost(task);
    if (list_.done) list_.done(cost_finished_);
  }

  void serve() {
    try {
      auto pause = shortest_pause;
      while (open_ > 0 && !abandoned_) {
        int waiting = 0;
        MPI_Status status;
        check(MPI_Iprobe(MPI_ANY_SOURCE, result_tag, MPI_COMM_WORLD, &waiting, &status));
        if (waiting) {
          receive(status);
          pause = shortest_pause;
        } else {
          std::this_thread::sleep_for(pause);
          pause = std::min(2 * pause, longest_pause);
        }
      }
    } catch (...) {
      failure_ = std::current_exception();
      stopped_ = true;  // the root's own work would be in vain
    }
  }

  void receive(const MPI_Status& status) {
    int bytes = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &bytes));
    Payload payload(bytes);
    check(MPI_Recv(payload.data(), bytes, MPI_BYTE, status.MPI_SOURCE, result_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
    Trailer trailer;
    std::memcpy(&trailer, payload.data() + payload.size() - sizeof trailer, sizeof trailer);
    payload.resize(payload.size() - sizeof trailer);
    if (trailer.asked_to_stop) stopped_ = true;
    Worker& worker = workers_[status.MPI_SOURCE];
    ++worker.asked;
    worker.busy -= trailer.task != no_task;
    answer(worker, status.MPI_SOURCE);
    // the worker need not wait until its result is recorded
    if (trailer.task != no_task) finish(trailer.task, std::move(payload));
  }

  /// A worker that has a task gets another one only while there are enough for all.
  void answer(Worker& worker, int rank) {
    while (worker.asked > 0) {
      if (worker.busy > 0 && !stopped_ && !enough_for_all()) return;
      long task = take(rank);
      if (task == list_.tasks) {
        task = no_task;
        --open_;
      } else {
        ++worker.busy;
      }
      --worker.asked;
      check(MPI_Send(&task, sizeof task, MPI_BYTE, rank, task_tag, MPI_COMM_WORLD));
    }
  }

  bool enough_for_all() {
    const std::lock_guard lock(mutex_);
    return queue_.left() == 0 || queue_.enough_for_all();
  }

  int open_;                     // questions that no worker has yet been answered with "there is none"
  std::vector<Worker> workers_;  // by rank
  const TaskList& list_;
  std::vector<Payload>& results_;
  std::atomic<bool> stopped_ = false, abandoned_ = false;
  std::mutex mutex_;  // of what follows, and of all calls to the list's functions
  TaskQueue queue_;
  long finished_ = 0;
  double cost_finished_ = 0;
  std::exception_ptr failure_;
  std::thread thread_;
};

void work_for_root(const std::function<Payload(long)>& work) {
  const auto send = [](Payload payload, long task) {
    const Trailer trailer{task, interruption_asked()};
    const std::span<const std::byte> bytes = std::as_bytes(std::span(&trailer, 1));
    payload.insert(payload.end(), bytes.begin(), bytes.end());
    if (payload.size() > INT_MAX) {
      throw Error("a task's result cannot be sent", "it is larger than 2 GiB", "use fewer images per run");
    }
    check(MPI_Send(payload.data(), int(payload.size()), MPI_BYTE, 0, result_tag, MPI_COMM_WORLD));
  };
  for (int i = 0; i < tasks_ahead; ++i) send({}, no_task);
  for (int open = tasks_ahead; open > 0;) {
    long task = no_task;
    check(MPI_Recv(&task, sizeof task, MPI_BYTE, 0, task_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
    if (task == no_task) {
      --open;
    } else if (interruption_asked()) {  // not begun yet
      send({}, no_task);
    } else {
      send(work(task), task);
    }
  }
}

}  // namespace

std::vector<Payload> Ranks::distribute(const TaskList& list) const {
  std::vector<Payload> results(list.tasks);
  std::byte complete{1};
  if (root()) {
    Coordinator coordinator(size_ - 1, list, results);
    for (long task = coordinator.take(); task < list.tasks; task = coordinator.take()) {
      coordinator.finish(task, list.work(task));
    }
    coordinator.wait();
    complete = std::byte(coordinator.complete());
  } else {
    work_for_root(list.work);
  }
  broadcast(std::span(&complete, 1));
  if (complete == std::byte(0)) throw Interrupted();
  if (size_ > 1) broadcast(results);
  return results;
}

/// All in one message: a message costs more than a small result.
void Ranks::broadcast(std::vector<Payload>& payloads) const {
  std::vector<long> sizes(payloads.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) sizes[i] = long(payloads[i].size());
  broadcast(std::as_writable_bytes(std::span(sizes)));
  std::vector<std::byte> all(std::size_t(std::accumulate(sizes.begin(), sizes.end(), 0L)));
  std::byte* place = all.data();
  for (const Payload& payload : payloads) place = std::copy(payload.begin(), payload.end(), place);
  broadcast(all);
  if (root()) return;
  place = all.data();
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    payloads[i].assign(place, place + sizes[i]);
    place += sizes[i];
  }
}

}  // namespace bitcluster
