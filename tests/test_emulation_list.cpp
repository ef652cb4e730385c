#include <gtest/gtest.h>

#include <cstring>

#include "harness/study/candidate_search.hpp"
#include "harness/study/emulation_list.hpp"
#include "host/base/error.hpp"
#include "host/emulation/design.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

Accelerator accelerator_of(const std::string& design) {
  Accelerator accelerator;
  accelerator.name = design;
  accelerator.design = &design_named(design);
  return accelerator;
}

const std::vector<std::string> layers = {"first", "second"};

NamedAssignment assignment(const std::string& name, const Preparation& preparation, int choice) {
  return {name, Assignment(layers.size(), choice), &preparation};
}

TEST(EmulationList, OneImageStandsForAllWhereActivationsDoNotMatter) {
  const std::vector<Basis> bases = {{"throughput", {accelerator_of("bitlet"), accelerator_of("laconic")}}};
  EmulationList list;
  add_study("net", 3, layers, bases, assignment("integer", plain_weights, reference_choice), {}, 4, list);
  ASSERT_EQ(list.rows.size(), 4u);  // accelerators x layers
  ASSERT_EQ(list.tasks.size(), 2u + 2 * 4);
  for (std::size_t i = 0; i < list.tasks.size(); ++i) {
    const EmulationTask& task = list.tasks[i];
    const bool looks = task.accelerator->name == "laconic";
    EXPECT_EQ(task.images, looks ? 1 : 4);
    EXPECT_EQ(task.image, looks ? int(i - 2) % 4 : -1);
    EXPECT_EQ(task.model, 3);
    EXPECT_EQ(list.rows[task.row].layer, layers[task.layer]);
    EXPECT_EQ(list.rows[task.row].accelerator, task.accelerator->name);
    EXPECT_EQ(list.rows[task.row].images, 4);
  }
}

TEST(EmulationList, HasNoMoreTasksThanFitANode) {
  const Accelerator laconic = accelerator_of("laconic"), bitlet = accelerator_of("bitlet");
  EmulationList list;
  EmulationRow row;
  row.model = "net";
  list.add(row, {.accelerator = &laconic}, 1000);
  EXPECT_MESSAGE(list.add(row, {.accelerator = &laconic}, (1 << 25) - 999),
                 "'net' cannot be emulated on 33553433 images: layers, accelerators and images together are more than");
  EXPECT_MESSAGE(list.add(row, {.accelerator = &laconic}, 2147483647), "take fewer images");
  EXPECT_EQ(list.tasks.size(), 1000u);
  list.add(row, {.accelerator = &bitlet}, 2147483647);  // one image stands for all
  EXPECT_EQ(list.tasks.size(), 1001u);
}

TEST(EmulationList, DesignsRunTheWeightsThatAreForThem) {
  const std::vector<Basis> bases = {
      {"throughput", {accelerator_of("bitcluster"), accelerator_of("pragmatic_weights"), accelerator_of("bitlet")}}};
  const NamedAssignment found[] = {assignment("M-BC", bitcluster_weights, 1), assignment("L-BC", bitcluster_weights, 2),
                                   assignment("BitPruner", *preparations()[2], 5)};
  EmulationList list;
  add_study("net", 0, {"only"}, bases, assignment("integer", plain_weights, reference_choice), found, 1, list);
  std::vector<std::string> rows;
  for (const EmulationRow& row : list.rows) rows.push_back(row.accelerator + " " + row.assignment);
  const std::vector<std::string> expected = {"bitcluster M-BC", "bitcluster L-BC", "pragmatic_weights integer",
                                             "pragmatic_weights BitPruner", "bitlet integer"};
  EXPECT_EQ(rows, expected);
}

/// Also of a design that can look at activations, such as Stripes: a search has none.
TEST(EmulationList, CostsOfASearchLookAtNoActivations) {
  const Accelerator stripes = accelerator_of("stripes");
  EmulationList list;
  add_search_costs(1, 2, 5, 3, stripes, list);
  ASSERT_EQ(list.tasks.size(), 6u);
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(list.tasks[i].row, std::size_t(i));
    EXPECT_EQ(list.tasks[i].image, -1);
    EXPECT_EQ(list.tasks[i].layer, i / 3);
    EXPECT_EQ(list.tasks[i].choice, 5 + i % 3);
  }
}

class Sums : public testing::Test {
 protected:
  Sums() {
    list_.add({}, {.accelerator = &laconic_}, 3);
    list_.add({}, {.accelerator = &bitlet_}, 3);
  }

  /// As many cycles as ten times the row, and the image.
  EmulationWork work(std::vector<std::size_t> order) const {
    return {list_, std::move(order), std::vector<double>(list_.tasks.size(), 1.0), [](const EmulationTask& task) {
              LayerEmulation emulation;
              emulation.cycles = 10 * std::int64_t(task.row + 1) + task.image;
              return emulation;
            }};
  }

  Accelerator laconic_ = accelerator_of("laconic"), bitlet_ = accelerator_of("bitlet");
  EmulationList list_;
};

TEST_F(Sums, AreOfTheImagesInAnyOrderOfTasks) {
  for (const auto& order : {std::vector<std::size_t>{0, 1, 2, 3}, {3, 2, 0, 1}}) {
    const EmulationWork some = work(order);
    const TaskList tasks = some.tasks();
    ASSERT_EQ(tasks.tasks, 4);
    std::vector<Payload> payloads;
    for (long task = 0; task < tasks.tasks; ++task) payloads.push_back(tasks.work(task));
    const std::vector<LayerEmulation> sums = some.sums(payloads);
    ASSERT_EQ(sums.size(), 2u);
    EXPECT_EQ(sums[0].cycles, 10 + 11 + 12);
    EXPECT_EQ(sums[1].cycles, 3 * 19);
  }
}

TEST_F(Sums, RejectAResultOfAnotherSize) {
  const EmulationWork some = work({0, 1, 2, 3});
  const TaskList tasks = some.tasks();
  std::vector<Payload> payloads;
  for (long task = 0; task < tasks.tasks; ++task) payloads.push_back(tasks.work(task));
  for (const int more : {-1, 1}) {
    std::vector<Payload> wrong = payloads;
    wrong[2].resize(wrong[2].size() + std::size_t(more));
    EXPECT_NE(message_of([&] { some.sums(wrong); }).find("bytes instead of"), std::string::npos);
  }
}

}  // namespace
}  // namespace bitcluster
