// mpirun -np R bench_ranks: what distribute() costs a worker per task, beyond the task itself: the time from one task's
// end to the next one's start, for tasks of several lengths and sizes of result. The root does a single task, which
// ends when all others have.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <thread>

#include "harness/ranks/ranks.hpp"

using namespace bitcluster;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double processor_seconds() { return double(std::clock()) / CLOCKS_PER_SEC; }

void measure(const Ranks& ranks, long tasks, std::size_t bytes, double task_seconds) {
  std::atomic<long> finished = 0;
  const auto work = [&](long) {
    const Clock::time_point start = Clock::now();
    if (ranks.root()) {
      while (ranks.size() > 1 && finished < tasks - 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else {
      while (seconds_since(start) < task_seconds) {
      }
    }
    return Payload(bytes);
  };
  const double before = processor_seconds();
  const Clock::time_point start = Clock::now();
  ranks.distribute({tasks, work, [&](long done) { finished = done; }, {}, {}});
  const double seconds = seconds_since(start);
  if (!ranks.root()) return;
  const int workers = std::max(1, ranks.size() - 1);
  std::printf("%d ranks, tasks of %g ms, results of %zu bytes: %.1f us per task and worker beside its work\n",
              ranks.size(), 1e3 * task_seconds, bytes,
              1e6 * (seconds * workers / double(tasks) - (ranks.size() > 1 ? task_seconds : 0)));
  std::printf("    the root's processor time per task: %.1f us\n",
              1e6 * (processor_seconds() - before) / double(tasks));
}

}  // namespace

int main(int argc, char** argv) {
  Ranks ranks(argc, argv);
  measure(ranks, 20000, 0, 0);
  measure(ranks, 20000, 1024, 0);
  measure(ranks, 2000, 1 << 17, 0);
  measure(ranks, 2000, 1024, 1e-3);
  measure(ranks, 200, 1024, 20e-3);
  return 0;
}
