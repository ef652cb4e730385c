#include <gtest/gtest.h>

#include "harness/ranks/devices.hpp"

namespace bitcluster {
namespace {

using Visible = std::vector<std::vector<std::string>>;

/// The devices of all ranks of a node.
std::vector<int> deal(const Visible& visible) {
  std::vector<int> devices;
  for (int rank = 0; rank < int(visible.size()); ++rank) {
    devices.push_back(choose_device(visible, rank, "none is seen").device);
  }
  return devices;
}

TEST(ChooseDevice, IsTheRankOnTheNodeWhereAllSeeTheSame) {
  EXPECT_EQ(deal({{"a", "b", "c"}, {"a", "b", "c"}}), (std::vector{0, 1}));
  EXPECT_EQ(deal({{"a"}}), std::vector{0});
}

TEST(ChooseDevice, IsItsOwnWhereABatchSystemGivesEachRankAnother) {
  EXPECT_EQ(deal({{"a"}, {"b"}, {"c"}}), (std::vector{0, 0, 0}));
  EXPECT_EQ(deal({{"a", "b"}, {"a", "b"}, {"b", "c"}}), (std::vector{0, 1, 1}));
}

TEST(ChooseDevice, SaysBothNumbersWhereRanksOutnumberDevices) {
  const Visible visible(4, {"a", "b"});
  EXPECT_EQ(deal(visible), std::vector(4, -1));
  for (int rank = 0; rank < 4; ++rank) {
    const DeviceChoice choice = choose_device(visible, rank, "");
    EXPECT_EQ(choice.why, "there are 4 ranks on this node for 2 GPUs");
    EXPECT_NE(choice.what_to_do.find("at most 2 on a node"), std::string::npos) << choice.what_to_do;
    EXPECT_NE(choice.what_to_do.find("--backend cpu"), std::string::npos) << choice.what_to_do;
  }
  EXPECT_EQ(choose_device({{"a"}, {"a"}}, 1, "").why, "there are 2 ranks on this node for 1 GPU");
}

TEST(ChooseDevice, GivesTheReasonWhereThereIsNone) {
  EXPECT_EQ(deal({{}, {}}), std::vector(2, -1));
  EXPECT_EQ(choose_device({{}, {}}, 1, "no driver").why, "no driver");
}

TEST(ChooseDevice, ServesAllRanksOfANodeOrNone) {
  EXPECT_EQ(deal({{"a"}, {}}), std::vector(2, -1));
  EXPECT_FALSE(choose_device({{"a"}, {}}, 0, "").why.empty());
}

}  // namespace
}  // namespace bitcluster
