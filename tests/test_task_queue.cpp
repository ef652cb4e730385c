#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "harness/task_queue.hpp"

namespace bitcluster {
namespace {

TEST(TaskQueue, HandsOutTasksOfNoKindInOrder) {
  TaskQueue queue(std::vector<int>(5, -1), 3);
  queue.remove(2);
  queue.remove(2);
  EXPECT_EQ(queue.left(), 4);
  for (const long expected : {0, 1, 3, 4}) EXPECT_EQ(queue.take(-1), expected);
  EXPECT_EQ(queue.left(), 0);
  EXPECT_EQ(queue.take(-1), -1);
  EXPECT_EQ(TaskQueue({}, 1).take(-1), -1);
}

TEST(TaskQueue, KeepsToAKind) {
  std::vector<int> kinds;
  for (int i = 0; i < 100; ++i) kinds.push_back(i % 3);
  TaskQueue queue(kinds, 8);
  EXPECT_EQ(queue.take(-1), 0);
  EXPECT_EQ(queue.take(0), 3);
  EXPECT_EQ(queue.take(0), 6);
  EXPECT_EQ(queue.take(2), 2);
  EXPECT_EQ(queue.take(-1), 1);
  EXPECT_EQ(queue.kind(1), 1);
}

/// With one rank others of a kind are looked for among 4 tasks.
TEST(TaskQueue, DoesNotLeaveTheFirstFarBehind) {
  std::vector<int> kinds(100, 0);
  for (int i = 0; i < 100; i += 5) kinds[i] = 1;
  TaskQueue queue(kinds, 1);
  EXPECT_EQ(queue.take(1), 0);
  EXPECT_EQ(queue.take(1), 1);  // the next one of kind 1 is the 4th after it
  EXPECT_EQ(queue.take(1), 5);
}

/// When few are left, the order counts.
TEST(TaskQueue, EndsInOrder) {
  std::vector<int> kinds(8, 0);
  kinds[6] = 1;
  TaskQueue queue(kinds, 100);
  for (long expected = 0; expected < 8; ++expected) EXPECT_EQ(queue.take(1), expected);
}

TEST(TaskQueue, HandsOutEveryTaskOnce) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int most = pick(0, 5), ranks = pick(1, 10);
    std::vector<int> kinds(pick(0, 100)), last(ranks, -1);
    for (int& kind : kinds) kind = pick(-1, most);
    TaskQueue queue(kinds, ranks);
    std::vector<int> times(kinds.size());
    for (int i = pick(0, 10); i > 0 && !kinds.empty(); --i) {
      const int task = pick(0, int(kinds.size()) - 1);
      queue.remove(task);
      times[task] = 1;
    }
    while (queue.left() > 0) {
      int& kind = last[pick(0, ranks - 1)];
      const long task = queue.take(kind);
      ++times.at(task);
      kind = queue.kind(task);
    }
    EXPECT_EQ(std::count(times.begin(), times.end(), 1), long(times.size()));
  }
}

}  // namespace
}  // namespace bitcluster
