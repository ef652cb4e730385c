#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "harness/plan/simulate.hpp"

namespace bitcluster {
namespace {

SimulatedRun of(const std::vector<double>& seconds, int ranks, Overheads overheads = {}) {
  std::vector<TaskTime> tasks;
  for (const double one : seconds) tasks.push_back({one, 0, {one}});
  return simulate(tasks, ranks, overheads);
}

TEST(Simulation, WithoutOverheadTheNextTaskGoesToWhoeverIsFree) {
  EXPECT_EQ(of({}, 3).makespan, 0);
  EXPECT_EQ(of({5, 2}, 1).makespan, 7);
  EXPECT_EQ(of({5, 2}, 1).busy, 7);
  EXPECT_EQ(of({7}, 4).makespan, 7);
  // 0: 4    0-4, 2 4-6; 1: 3 0-3, 2 3-5 or the other way round
  EXPECT_EQ(of({4, 3, 2, 2}, 2).makespan, 6);
  // three of length 6 on two ranks
  EXPECT_EQ(of({6, 6, 6}, 2).makespan, 12);
}

/// Two ranks, messages take 1 s, an answer 1 s. The worker asks twice at 0, the root looks at 1. The root itself does
/// the first task, 0 to 10. The first question is answered at 2 with the second task, which is there at 3 and ends at
/// 13; one is left, fewer than ranks, so the second question waits. The root takes it at 10, and ends it at 20. The
/// worker's result is at the root at 14, which has seen to it at 15.
TEST(Simulation, MessagesByHand) { EXPECT_EQ(of({10, 10, 10}, 2, {1, 1}).makespan, 20); }

/// As above, but the first task takes 20 s: the worker gets the third one after its result, 14 + 1 + 1, does it from 16
/// to 26, and its result has been seen to at 28.
TEST(Simulation, TheWorkerGetsWhatIsLeft) { EXPECT_EQ(of({20, 10, 10}, 2, {1, 1}).makespan, 28); }

/// With many tasks the next one is there before: messages cost a worker nothing between tasks.
TEST(Simulation, TasksAheadHideMessages) {
  const std::vector<double> tasks(2000, 10);
  const double makespan = of(tasks, 2, {1, 0.5}).makespan;
  EXPECT_GE(makespan, 10000);
  EXPECT_LE(makespan, 10000 + 20);
}

/// The root answers one question at a time: many ranks with short tasks wait for it.
TEST(Simulation, TheRootIsABottleneckForShortTasks) {
  const std::vector<double> tasks(10000, 1e-3);
  EXPECT_GE(of(tasks, 1001, {0, 1e-3}).makespan, 1e-3 * 10000 / 2.1);  // of two tasks, the root does one itself
}

/// Two kinds in turn, 1 s of work and 10 s of preparation each: with two ranks each keeps to its kind and prepares once
/// until few tasks are left.
TEST(Simulation, ARankThatHasPreparedKeepsToItsKind) {
  std::vector<TaskTime> tasks;
  for (int i = 0; i < 200; ++i) tasks.push_back({1, 10, {1, i % 2}});
  const SimulatedRun kept = simulate(tasks, 2, {});
  EXPECT_LE(kept.busy, 200 + 2 * 10 + 4 * 10);
  for (TaskTime& task : tasks) task.traits.kind = -1;
  EXPECT_EQ(simulate(tasks, 2, {}).busy, 200);
  for (int i = 0; i < 200; ++i) tasks[i].traits.kind = i;
  EXPECT_EQ(simulate(tasks, 2, {}).busy, 200 * 11);
}

/// The protocol once more, second by second and without any queue of events.
double step_by_step(const std::vector<int>& tasks, int ranks, int message, int serve) {
  struct Message {
    int at, rank;
    bool result;
    long number;
  };
  struct Worker {
    int asked = 0, busy = 0, ends = 0;
    bool working = false;
    std::vector<std::pair<int, int>> coming;  // (there at, length)
  };
  std::vector<Worker> workers(ranks);
  std::vector<Message> inbox;
  long number = 0, next = 0, finished = 0;
  for (int rank = 1; rank < ranks; ++rank) {
    for (int i = 0; i < 2; ++i) inbox.push_back({message, rank, false, number++});
  }
  int root_free = 0, served = 0, last = 0;
  for (int now = 0; finished < long(tasks.size()); ++now) {
    for (bool more = true; more;) {
      more = false;
      // results first become messages, in rank order, then the root takes a task, then it answers
      for (int rank = 1; rank < ranks; ++rank) {
        Worker& worker = workers[rank];
        if (worker.working && worker.ends == now) {
          worker.working = false;
          inbox.push_back({now + message, rank, true, number++});
          more = true;
        }
        if (!worker.working && !worker.coming.empty() && worker.coming[0].first <= now) {
          worker.ends = now + worker.coming[0].second;
          worker.coming.erase(worker.coming.begin());
          worker.working = true;
          more = true;
        }
      }
      if (root_free == now && next < long(tasks.size())) {
        root_free = now + tasks[next++];
        ++finished;
        last = std::max(last, root_free);
        more = true;
        continue;
      }
      const auto due = std::min_element(inbox.begin(), inbox.end(), [](const Message& a, const Message& b) {
        return a.at != b.at ? a.at < b.at : a.number < b.number;
      });
      if (due == inbox.end() || std::max(due->at, served) > now) continue;
      const Message taken = *due;
      inbox.erase(due);
      served = now + serve;
      Worker& worker = workers[taken.rank];
      ++worker.asked;
      if (taken.result) {
        --worker.busy;
        ++finished;
        last = std::max(last, served);
      }
      // a second task while there is one for everybody, and four times the work of the first for every rank
      const auto enough = [&] {
        return long(tasks.size()) - next >= ranks &&
               std::accumulate(tasks.begin() + next, tasks.end(), 0) > 4 * tasks[next] * ranks;
      };
      while (worker.asked > 0 && next < long(tasks.size()) && (worker.busy == 0 || enough())) {
        worker.coming.emplace_back(served + message, tasks[next++]);
        ++worker.busy;
        --worker.asked;
      }
      more = true;
    }
    if (root_free == now && next == long(tasks.size())) root_free = -1;
  }
  return last;
}

TEST(Simulation, EqualsAStepByStepOne) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 500; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int ranks = pick(1, 6), message = pick(1, 4), serve = pick(1, 3);
    std::vector<int> tasks(pick(0, 30));
    for (int& task : tasks) task = pick(1, 20);
    const SimulatedRun schedule = of({tasks.begin(), tasks.end()}, ranks, {double(message), double(serve)});
    ASSERT_EQ(schedule.makespan, step_by_step(tasks, ranks, message, serve)) << "trial " << trial;
    ASSERT_EQ(schedule.busy, std::accumulate(tasks.begin(), tasks.end(), 0));
  }
}

TEST(Simulation, KeepsTheBoundsOfListScheduling) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 200; ++trial) {
    const int ranks = std::uniform_int_distribution<int>(1, 40)(random);
    std::vector<double> tasks(std::uniform_int_distribution<int>(1, 200)(random));
    for (double& task : tasks) task = std::exponential_distribution<>(1)(random);
    std::sort(tasks.rbegin(), tasks.rend());
    const double total = std::accumulate(tasks.begin(), tasks.end(), 0.0);
    const double makespan = of(tasks, ranks).makespan;
    EXPECT_GE(makespan, std::max(total / ranks, tasks[0]) * (1 - 1e-12));
    // Graham 1969: with the next task for whoever is free; one task ahead costs at most one more
    EXPECT_LE(makespan, (total / ranks + 2 * tasks[0]) * (1 + 1e-12));
  }
}

}  // namespace
}  // namespace bitcluster
