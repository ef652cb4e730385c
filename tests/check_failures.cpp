// Run under mpirun by test_failures.py: fails in the way that its argument says. A second one names an output whose
// journal is open meanwhile.
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "harness/journal/journal.hpp"
#include "harness/ranks/ranks.hpp"
#include "host/base/error.hpp"

using namespace bitcluster;

namespace {

void work_for(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

/// Long enough for a test to see that nobody waits for its end.
constexpr std::chrono::seconds long_work{20};

void fail(const Ranks& ranks, const std::string& how) {
  const int rank = ranks.rank(), last = ranks.size() - 1;
  const auto break_down = [] { throw Error("broken", "on purpose, at length " + std::string(20000, 'x'), "look"); };
  const auto break_on = [&](int one) {
    return [=](long) -> Payload {
      if (rank == one) break_down();
      work_for(long_work);
      return {};
    };
  };
  if (how == "all") break_down();
  if (how == "root_late") {
    if (rank == 0) work_for(std::chrono::milliseconds(1500));
    break_down();
  }
  if (how == "last_alone") {
    if (rank == last) break_down();
    if (rank == 0) work_for(long_work);
    ranks.gather("what the last rank never sends");
  }
  if (how == "action_of_root") ranks.on_root(break_down);
  if (how == "action_of_all") ranks.on_all(break_down);
  if (how == "task_of_root") ranks.distribute({1000, break_on(0), {}, {}, {}});
  if (how == "task_of_last") ranks.distribute({1000, break_on(last), {}, {}, {}});
  if (how == "after_others") {  // which are at their end
    if (rank == last) {
      work_for(std::chrono::milliseconds(500));
      break_down();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Ranks ranks(argc, argv);
  try {
    std::unique_ptr<Journal> journal;
    if (ranks.root() && argc > 2) journal = std::make_unique<Journal>(argv[2], "me", false);
    fail(ranks, argv[1]);
  } catch (const std::exception& error) {
    ranks.fail(error);
  }
  return 0;
}
