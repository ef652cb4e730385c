#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "harness/ranks/task_queue.hpp"

namespace bitcluster {
namespace {

std::vector<TaskTraits> of_kinds(const std::vector<int>& kinds) {
  std::vector<TaskTraits> tasks;
  for (const int kind : kinds) tasks.push_back({1, kind});
  return tasks;
}

/// What a rank that begins everything it takes gets next.
long next(TaskQueue& queue, int rank) {
  const long task = queue.take(rank);
  if (task >= 0) queue.begin(rank, task);
  return task;
}

TEST(TaskQueue, HandsOutTasksOfNoKindInOrder) {
  TaskQueue queue(std::vector<TaskTraits>(5), 3);
  queue.remove(2);
  queue.remove(2);
  EXPECT_EQ(queue.left(), 4);
  for (const long expected : {0, 1, 3, 4}) EXPECT_EQ(next(queue, 0), expected);
  EXPECT_EQ(queue.left(), 0);
  EXPECT_EQ(queue.take(0), -1);
  EXPECT_EQ(TaskQueue({}, 1).take(0), -1);
}

TEST(TaskQueue, KeepsToAKind) {
  std::vector<int> kinds;
  for (int i = 0; i < 100; ++i) kinds.push_back(i % 3);
  TaskQueue queue(of_kinds(kinds), 8);
  EXPECT_EQ(next(queue, 5), 0);
  EXPECT_EQ(next(queue, 5), 3);
  EXPECT_EQ(next(queue, 5), 6);
  EXPECT_EQ(next(queue, 7), 1);
  EXPECT_EQ(next(queue, 6), 2);
  EXPECT_EQ(next(queue, 7), 4);
}

/// A rank stays prepared for one kind of every group.
TEST(TaskQueue, KeepsToAKindOfEveryGroup) {
  std::vector<TaskTraits> tasks;
  for (int i = 0; i < 100; ++i) tasks.push_back({1, i % 4, i % 2});  // kinds 0 and 2 of group 0, 1 and 3 of group 1
  TaskQueue queue(tasks, 4);
  EXPECT_TRUE(queue.begin(0, 0));
  EXPECT_FALSE(queue.begin(0, 4));
  EXPECT_TRUE(queue.begin(0, 1));
  EXPECT_FALSE(queue.begin(0, 0));  // still prepared
  EXPECT_TRUE(queue.begin(1, 0));   // another rank is not
  EXPECT_TRUE(queue.begin(0, 2));
  EXPECT_TRUE(queue.begin(0, 0));  // not any more
  EXPECT_TRUE(queue.begin(0, 2));
  for (const long expected : {1, 2, 5, 6, 9, 10}) EXPECT_EQ(next(queue, 0), expected);
  EXPECT_EQ(next(queue, 3), 0);
  TaskQueue without(std::vector<TaskTraits>(1), 1);
  EXPECT_FALSE(without.begin(0, 0));
}

/// A task that was taken, but not begun, prepares nothing.
TEST(TaskQueue, PreparesForWhatIsBegun) {
  TaskQueue queue(of_kinds({1, 0, 1, 0, 1, 0, 1, 0, 1, 0}), 1);
  EXPECT_EQ(queue.take(0), 0);
  EXPECT_EQ(next(queue, 0), 1);
  EXPECT_EQ(next(queue, 0), 3);
}

/// With one rank others of a kind are looked for among 4 tasks.
TEST(TaskQueue, DoesNotLeaveTheFirstFarBehind) {
  std::vector<int> kinds(100, 0);
  for (int i = 0; i < 100; i += 5) kinds[i] = 1;
  TaskQueue queue(of_kinds(kinds), 1);
  EXPECT_EQ(next(queue, 0), 0);
  EXPECT_EQ(next(queue, 0), 1);  // the next one of kind 1 is the 4th after it
}

/// When little is left, the order counts: here the first task costs more, or less, than half of it per rank.
TEST(TaskQueue, BeginsWhatIsDearInTime) {
  for (const bool dear : {false, true}) {
    std::vector<TaskTraits> tasks = of_kinds({0, 1, 0, 0, 0, 0, 0, 0, 0, 0});
    tasks[1].cost = dear ? 8.1 : 7.9;
    TaskQueue queue(tasks, 1);
    EXPECT_EQ(next(queue, 0), 0);
    EXPECT_EQ(next(queue, 0), 2 - dear);
  }
}

/// A rank gets a second task only while there are enough for all, and the first of them is not dear.
TEST(TaskQueue, EnoughForAll) {
  for (const int ranks : {1, 2, 5}) {
    TaskQueue queue(std::vector<TaskTraits>(10 * ranks), ranks);
    while (queue.left() > 4 * ranks) {
      EXPECT_TRUE(queue.enough_for_all());
      queue.take(0);
    }
    EXPECT_FALSE(queue.enough_for_all());
  }
  std::vector<TaskTraits> tasks(100);
  tasks[0].cost = 40;
  TaskQueue queue(tasks, 2);
  EXPECT_FALSE(queue.enough_for_all());
  EXPECT_EQ(queue.take(1), 0);
  EXPECT_TRUE(queue.enough_for_all());
}

TEST(TaskQueue, HandsOutEveryTaskOnce) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const auto pick = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    const int most = pick(0, 5), ranks = pick(1, 10);
    std::vector<TaskTraits> tasks(pick(0, 100));
    for (TaskTraits& task : tasks) {
      task.kind = pick(-1, most);
      task.group = std::max(0, task.kind) % 3;
      task.cost = pick(1, 100) * pick(1, 100);
    }
    TaskQueue queue(tasks, ranks);
    std::vector<int> times(tasks.size());
    for (int i = pick(0, 10); i > 0 && !tasks.empty(); --i) {
      const int task = pick(0, int(tasks.size()) - 1);
      queue.remove(task);
      times[task] = 1;
    }
    while (queue.left() > 0) {
      queue.enough_for_all();
      ++times.at(next(queue, pick(0, ranks - 1)));
    }
    EXPECT_EQ(std::count(times.begin(), times.end(), 1), long(times.size()));
  }
}

}  // namespace
}  // namespace bitcluster
