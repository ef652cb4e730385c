#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "host/inference/label_order.hpp"

namespace bitcluster {
namespace {

struct Scored {
  std::vector<ImageScore> scores;
  std::vector<std::int32_t> labels;

  /// outputs: of every label, what a right answer looks like; rightly: how often it is given, else any output is.
  Scored(int images, const std::vector<int>& outputs, int classes, double rightly, unsigned seed = 1) {
    std::mt19937 random(seed);
    for (int i = 0; i < images; ++i) {
      labels.push_back(i % int(outputs.size()));
      const bool is_right = std::uniform_real_distribution<>()(random) < rightly;
      add(is_right ? outputs[labels.back()] : std::uniform_int_distribution<>(0, classes - 1)(random));
    }
  }

  void add(int output) {
    ImageScore score;
    score.output = std::uint16_t(output);
    scores.push_back(score);
  }

  std::string doubt(int classes) const { return label_order_doubt(scores, labels, classes); }
};

std::vector<int> in_order(int classes) {
  std::vector<int> outputs(classes);
  std::iota(outputs.begin(), outputs.end(), 0);
  return outputs;
}

std::vector<int> shuffled(int classes) {
  std::vector<int> outputs = in_order(classes);
  std::shuffle(outputs.begin(), outputs.end(), std::mt19937(7));
  return outputs;
}

TEST(LabelOrder, NoticesAPermutation) {
  const std::string doubt = Scored(2000, {1, 0, 2, 3, 4, 5, 6, 7, 9, 8}, 10, 1).doubt(10);
  EXPECT_NE(doubt.find("1 for most images of label 0, 0 for label 1, 9 for label 8, ..."), std::string::npos) << doubt;
  EXPECT_NE(doubt.find("top-1 would be about 100.0 % instead of 60.0 %"), std::string::npos) << doubt;
  EXPECT_NE(Scored(300, shuffled(10), 10, 0.8).doubt(10), "");
  EXPECT_NE(Scored(50000, shuffled(1000), 1000, 0.6).doubt(1000), "");
  EXPECT_NE(Scored(2000, {0, 1, 2, 3, 4, 5, 6, 7, 9, 8}, 10, 0.7).doubt(10), "");  // two changed places
  EXPECT_NE(Scored(400, {1, 0}, 2, 0.9).doubt(2), "");
}

TEST(LabelOrder, NoticesOtherPlacesAmongMoreOutputs) {
  // ten classes of ImageNet, numbered from 0, and a background class in front of all others
  EXPECT_NE(Scored(1000, {0, 217, 482, 491, 497, 566, 569, 571, 574, 701}, 1000, 0.7).doubt(1000), "");
  std::vector<int> behind = in_order(100);
  for (int& output : behind) ++output;
  EXPECT_NE(Scored(5000, behind, 101, 0.7).doubt(101), "");
}

TEST(LabelOrder, NoticesAPermutationInAnImageOfEveryClass) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    const std::string doubt = Scored(1000, shuffled(1000), 1000, 0.7, seed).doubt(1000);
    EXPECT_NE(doubt.find("in another order"), std::string::npos);
    EXPECT_EQ(doubt.find("top-1"), std::string::npos);  // nothing to judge it by
    for (const double rightly : {1.0, 0.7, 0.4, 0.1, 0.0}) {
      EXPECT_EQ(Scored(1000, in_order(1000), 1000, rightly, seed).doubt(1000), "") << rightly;
      EXPECT_EQ(Scored(100, in_order(100), 1000, rightly, seed).doubt(1000), "") << rightly;
    }
  }
  EXPECT_EQ(Scored(1000, std::vector<int>(1000, 3), 1000, 1).doubt(1000), "");
}

TEST(LabelOrder, IsSilentAboutGoodAndPoorNetworks) {
  for (const double rightly : {1.0, 0.7, 0.3, 0.05, 0.0}) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
      for (const int classes : {2, 10, 100}) {
        EXPECT_EQ(Scored(1000, in_order(classes), classes, rightly, seed).doubt(classes), "") << rightly;
      }
    }
  }
  // classes taken for others, which are right themselves
  EXPECT_EQ(Scored(2000, {0, 1, 2, 3, 4, 5, 0, 0, 5, 5}, 10, 0.9).doubt(10), "");
  EXPECT_EQ(Scored(2000, std::vector<int>(10, 3), 10, 1).doubt(10), "");
}

TEST(LabelOrder, IsSilentWhereNothingCanBeSaid) {
  EXPECT_EQ(Scored(10, shuffled(10), 10, 1).doubt(10), "");
  EXPECT_EQ(Scored(0, in_order(10), 10, 1).doubt(10), "");
  EXPECT_EQ(Scored(4000, shuffled(10), 10, 1).doubt(100000), "");  // outputs above 65535 are not told apart
}

}  // namespace
}  // namespace bitcluster
