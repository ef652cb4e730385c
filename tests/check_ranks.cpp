// Run under mpirun by CTest with several rank counts: every rank must see every result, once, in task order.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "harness/ranks.hpp"

using namespace bitcluster;

int main(int argc, char** argv) {
  Ranks ranks(argc, argv);
  for (const long tasks : {0L, 1L, 3L, 100L}) {
    long last_done = 0;
    const auto work = [](long task) {
      if (task % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // tasks cost different amounts
      Payload payload(sizeof(long) * (task % 5));                                     // empty ones included
      for (long i = 0; i < task % 5; ++i) {
        const long value = task * 1000 + i;
        std::memcpy(payload.data() + i * sizeof value, &value, sizeof value);
      }
      return payload;
    };
    const auto results = ranks.distribute(tasks, work, [&](long done) { last_done = done; });
    bool right = long(results.size()) == tasks && (!ranks.root() || last_done == tasks);
    for (long task = 0; task < tasks; ++task) right = right && results[task] == work(task);
    if (!right) {
      std::fprintf(stderr, "rank %d of %d: wrong results for %ld tasks\n", ranks.rank(), ranks.size(), tasks);
      return 1;
    }
  }
  const auto texts = ranks.gather(std::string(ranks.rank() + 1, char('a' + ranks.rank())));
  for (int rank = 0; rank < ranks.size(); ++rank) {
    if (texts[rank] != std::string(rank + 1, char('a' + rank))) return 1;
  }
  return 0;
}
