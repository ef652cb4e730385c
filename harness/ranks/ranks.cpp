#include "harness/ranks/ranks.hpp"

#include <fmt/format.h>
#include <mpi.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <exception>

#include "harness/ranks/failures.hpp"
#include "harness/ranks/mpi_calls.hpp"
#include "host/base/error.hpp"

namespace bitcluster {
namespace {

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
  if (provided < MPI_THREAD_MULTIPLE && size_ > 1) {
    const Error error("several ranks cannot run with this MPI library", "it lacks MPI_THREAD_MULTIPLE",
                      "use an MPI built with thread support, such as Debian's Open MPI, or run a single rank");
    MPI_Finalize();
    if (root()) throw error;
    throw SharedFailure(error.what());
  }
  const NodeCommunicator node(rank_);
  MPI_Comm_rank(node, &local_rank_);
  MPI_Comm_size(node, &local_size_);
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  MPI_Get_processor_name(name, &length);
  host_.assign(name, length);
  failures_ = std::make_unique<FailureDesk>(rank_, size_);
}

Ranks::~Ranks() {
  if (size_ > 1) MPI_Barrier(MPI_COMM_WORLD);  // the root listens until no rank can fail any more
  failures_.reset();
  MPI_Finalize();
}

int Ranks::fair_threads() const {
  const int mine = omp_get_num_procs();
  const int node = int(sysconf(_SC_NPROCESSORS_ONLN));
  return mine < node ? mine : std::max(1, node / local_size_);
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

void Ranks::abort() const { end_ranks(size_); }

void Ranks::fail(const std::exception& error) const {
  const std::string where = size_ == 1 ? "" : fmt::format(" on rank {} ({})", rank_, host_);
  const std::string message = fmt::format("bitcluster: error{}: {}", where, error.what());
  if (!root() && dynamic_cast<const SharedFailure*>(&error)) failures_->wait_for_root(message);
  failures_->report(message);
}

}  // namespace bitcluster
