#include "harness/ranks.hpp"

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
#include <source_location>
#include <stdexcept>
#include <thread>

#include "harness/interruption.hpp"
#include "host/error.hpp"

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

// Messages of distribute(): a worker sends the result of its last task (empty at first) and gets the next task.
constexpr int result_tag = 1, task_tag = 2;
constexpr long no_task = -1;

struct ResultHeader {
  long task;
  long bytes;
  long asked_to_stop;
};

/// Serves the other ranks from a thread of the root while the root itself works.
class Coordinator {
 public:
  Coordinator(int workers, const TaskList& list, std::vector<Payload>& results)
      : workers_(workers), list_(list), results_(results), known_(std::size_t(list.tasks)) {
    for (long task = 0; list.find && task < list.tasks; ++task) {
      if (auto payload = list.find(task)) {
        results_[task] = std::move(*payload);
        known_[task] = true;
        ++finished_;
      }
    }
    if (list_.done && finished_ > 0) list_.done(finished_);
    if (workers_ > 0) thread_ = std::thread([this] { serve(); });
  }

  /// The next task to do; the number of tasks if there is none.
  long take() {
    for (;;) {
      const long task = next_.fetch_add(1);
      if (task >= list_.tasks || stopped_ || interruption_asked()) return list_.tasks;
      if (known_[task]) continue;
      const std::lock_guard lock(mutex_);
      if (!list_.needed || list_.needed(task)) return task;
      ++finished_;
      if (list_.done) list_.done(finished_);
    }
  }

  void finish(long task, Payload payload) {
    const std::lock_guard lock(mutex_);
    if (list_.keep) list_.keep(task, payload);
    results_[task] = std::move(payload);
    ++finished_;
    if (list_.done) list_.done(finished_);
  }

  void wait() {
    if (thread_.joinable()) thread_.join();
    if (failure_) std::rethrow_exception(failure_);
  }

  bool complete() const { return finished_ == list_.tasks; }

 private:
  void serve() {
    try {
      while (workers_ > 0) {
        int waiting = 0;
        MPI_Status status;
        check(MPI_Iprobe(MPI_ANY_SOURCE, result_tag, MPI_COMM_WORLD, &waiting, &status));
        if (!waiting) {
          // a blocking receive would keep a core of the root busy; tasks take far longer than this
          std::this_thread::sleep_for(std::chrono::microseconds(200));
          continue;
        }
        receive(status.MPI_SOURCE);
      }
    } catch (...) {
      failure_ = std::current_exception();
      stopped_ = true;  // the root's own work would be in vain
    }
  }

  void receive(int source) {
    ResultHeader header{};
    check(MPI_Recv(&header, sizeof header, MPI_BYTE, source, result_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
    if (header.task != no_task) {
      Payload payload(header.bytes);
      check(
          MPI_Recv(payload.data(), int(header.bytes), MPI_BYTE, source, result_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
      finish(header.task, std::move(payload));
    }
    if (header.asked_to_stop) stopped_ = true;
    long task = take();
    if (task == list_.tasks) {
      task = no_task;
      --workers_;
    }
    check(MPI_Send(&task, sizeof task, MPI_BYTE, source, task_tag, MPI_COMM_WORLD));
  }

  int workers_;
  const TaskList& list_;
  std::vector<Payload>& results_;
  std::vector<char> known_;
  std::atomic<bool> stopped_ = false;
  std::atomic<long> next_ = 0;
  long finished_ = 0;
  std::mutex mutex_;
  std::exception_ptr failure_;
  std::thread thread_;
};

void work_for_root(const std::function<Payload(long)>& work) {
  ResultHeader header{no_task, 0, interruption_asked()};
  Payload payload;
  while (true) {
    check(MPI_Send(&header, sizeof header, MPI_BYTE, 0, result_tag, MPI_COMM_WORLD));
    if (header.task != no_task) {
      check(MPI_Send(payload.data(), int(header.bytes), MPI_BYTE, 0, result_tag, MPI_COMM_WORLD));
    }
    long task = no_task;
    check(MPI_Recv(&task, sizeof task, MPI_BYTE, 0, task_tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE));
    if (task == no_task) return;
    payload = work(task);
    if (payload.size() > INT_MAX) {
      throw Error("a task's result cannot be sent", "it is larger than 2 GiB", "use fewer images per run");
    }
    header = {task, long(payload.size()), interruption_asked()};
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

/// Gives the root's payloads to all ranks.
void broadcast_payloads(std::vector<Payload>& payloads, int rank) {
  std::vector<long> sizes;
  for (const Payload& payload : payloads) sizes.push_back(long(payload.size()));
  check(MPI_Bcast(sizes.data(), int(sizes.size()), MPI_LONG, 0, MPI_COMM_WORLD));
  for (std::size_t i = 0; i < payloads.size(); ++i) {
    if (rank != 0) payloads[i].resize(sizes[i]);
    check(MPI_Bcast(payloads[i].data(), int(sizes[i]), MPI_BYTE, 0, MPI_COMM_WORLD));
  }
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
  if (size_ > 1) broadcast_payloads(results, rank_);
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
  throw std::runtime_error(message);
}

void Ranks::broadcast(std::span<std::byte> bytes, std::size_t chunk) const {
  if (size_ == 1) return;
  for (std::size_t first = 0; first < bytes.size(); first += chunk) {
    const std::size_t size = std::min(chunk, bytes.size() - first);
    check(MPI_Bcast(bytes.data() + first, int(size), MPI_BYTE, 0, MPI_COMM_WORLD));
  }
}

void Ranks::abort() const {
  if (size_ > 1) MPI_Abort(MPI_COMM_WORLD, 1);
  std::_Exit(1);
}

}  // namespace bitcluster
