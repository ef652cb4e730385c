#include "harness/ranks/ranks.hpp"

#include <fmt/format.h>
#include <mpi.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <source_location>
#include <thread>

#include "harness/ranks/interruption.hpp"
#include "host/base/error.hpp"

namespace bitcluster {
namespace {

void check(int status, std::source_location where = std::source_location::current()) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw Error(std::string("an MPI call failed in ") + where.function_name(), std::string(text, length),
              "check the MPI installation and the network between the nodes");
}

// Messages of distribute(): a worker asks for its first tasks with empty messages, then with the result of every task
// that it has done; a trailer behind the result says which. It gets one answer for each: a task, or that there is none.
constexpr int result_tag = 1, task_tag = 2;
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
    if (open_ > 0) thread_ = std::thread([this] { serve(); });
  }

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
      while (open_ > 0) {
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
  std::atomic<bool> stopped_ = false;
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

/// The ranks of this node.
class NodeCommunicator {
 public:
  explicit NodeCommunicator(int rank) {
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node_));
  }
  ~NodeCommunicator() { MPI_Comm_free(&node_); }
  NodeCommunicator(const NodeCommunicator&) = delete;
  NodeCommunicator& operator=(const NodeCommunicator&) = delete;

  operator MPI_Comm() const { return node_; }

 private:
  MPI_Comm node_ = MPI_COMM_NULL;
};

/// One text of every rank of a communicator, in rank order.
std::vector<std::string> gather_over(MPI_Comm communicator, const std::string& text) {
  int size = 0;
  check(MPI_Comm_size(communicator, &size));
  const int length = int(text.size());
  std::vector<int> lengths(size), starts(size);
  check(MPI_Allgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, communicator));
  int total = 0;
  for (int i = 0; i < size; ++i) {
    starts[i] = total;
    total += lengths[i];
  }
  std::string all(total, ' ');
  check(
      MPI_Allgatherv(text.data(), length, MPI_CHAR, all.data(), lengths.data(), starts.data(), MPI_CHAR, communicator));
  std::vector<std::string> texts;
  for (int i = 0; i < size; ++i) texts.push_back(all.substr(starts[i], lengths[i]));
  return texts;
}

}  // namespace

Ranks::Ranks(int& argc, char**& argv) {
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &provided);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  const NodeCommunicator node(rank_);
  MPI_Comm_rank(node, &local_rank_);
  MPI_Comm_size(node, &local_size_);
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  MPI_Get_processor_name(name, &length);
  host_.assign(name, length);
  if (provided < MPI_THREAD_MULTIPLE && size_ > 1) {
    throw Error("several ranks cannot run with this MPI library", "it lacks MPI_THREAD_MULTIPLE",
                "use an MPI built with thread support, such as Debian's Open MPI, or run a single rank");
  }
}

Ranks::~Ranks() { MPI_Finalize(); }

int Ranks::fair_threads() const {
  const int mine = omp_get_num_procs();
  const int node = int(sysconf(_SC_NPROCESSORS_ONLN));
  return mine < node ? mine : std::max(1, node / local_size_);
}

std::vector<Payload> Ranks::distribute(const TaskList& list) const {
  std::vector<Payload> results(list.tasks);
  std::byte complete{1};
  if (root()) {
    std::unique_ptr<Coordinator> coordinator;
    try {
      coordinator = std::make_unique<Coordinator>(size_ - 1, list, results);
      for (long task = coordinator->take(); task < list.tasks; task = coordinator->take()) {
        coordinator->finish(task, list.work(task));
      }
      coordinator->wait();
      complete = std::byte(coordinator->complete());
    } catch (const std::exception& error) {
      // other ranks and the coordinator's thread may be waiting for what will never come
      if (size_ == 1) throw;
      std::fprintf(stderr, "bitcluster: rank 0 on %s: %s\n", host_.c_str(), error.what());
      abort();
    }
  } else {
    work_for_root(list.work);
  }
  broadcast(std::span(&complete, 1));
  if (complete == std::byte(0)) throw Interrupted();
  if (size_ > 1) broadcast(results);
  return results;
}

std::vector<std::string> Ranks::gather(const std::string& text) const { return gather_over(MPI_COMM_WORLD, text); }

std::vector<std::string> Ranks::gather_on_node(const std::string& text) const {
  return gather_over(NodeCommunicator(rank_), text);
}

void Ranks::on_root(const std::function<void()>& action) const {
  std::exception_ptr failure;
  std::string message;
  if (root()) {
    try {
      action();
    } catch (const std::exception& error) {
      failure = std::current_exception();
      message = error.what();
    }
  }
  std::int64_t length = failure ? std::int64_t(message.size()) : -1;
  broadcast(std::as_writable_bytes(std::span(&length, 1)));
  if (length < 0) return;
  message.resize(std::size_t(length));
  broadcast(std::as_writable_bytes(std::span(message)));
  if (failure) std::rethrow_exception(failure);
  throw SharedFailure(message);
}

long Ranks::first_of(long count, int rank) const { return count * rank / size_; }

void Ranks::on_all(const std::function<void()>& action) const {
  std::exception_ptr failure;
  std::string message;
  try {
    action();
  } catch (const std::exception& error) {
    failure = std::current_exception();
    message = (root() ? "" : fmt::format("rank {} on {}: ", rank_, host_)) + error.what();
  }
  const std::vector<std::string> messages = gather(message);
  const auto failed = std::find_if(messages.begin(), messages.end(), [](const auto& text) { return !text.empty(); });
  if (failed == messages.end()) return;
  if (!root()) throw SharedFailure(*failed);
  if (failure) std::rethrow_exception(failure);
  throw std::runtime_error(*failed);
}

void Ranks::broadcast(std::span<std::byte> bytes, std::size_t chunk) const {
  if (size_ == 1) return;
  for (std::size_t first = 0; first < bytes.size(); first += chunk) {
    const std::size_t size = std::min(chunk, bytes.size() - first);
    check(MPI_Bcast(bytes.data() + first, int(size), MPI_BYTE, 0, MPI_COMM_WORLD));
  }
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

void Ranks::largest(std::span<double> values) const {
  check(MPI_Allreduce(MPI_IN_PLACE, values.data(), int(values.size()), MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD));
}

void Ranks::sum(std::span<std::int64_t> counts) const {
  check(MPI_Allreduce(MPI_IN_PLACE, counts.data(), int(counts.size()), MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD));
}

void Ranks::join(std::span<std::byte> bytes, const std::vector<int>& starts) const {
  std::vector<int> sizes;
  for (int rank = 0; rank < size_; ++rank) sizes.push_back(starts[rank + 1] - starts[rank]);
  check(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_BYTE, bytes.data(), sizes.data(), starts.data(), MPI_BYTE, MPI_COMM_WORLD));
}

void Ranks::abort() const {
  if (size_ > 1) MPI_Abort(MPI_COMM_WORLD, 1);
  std::_Exit(1);
}

}  // namespace bitcluster
