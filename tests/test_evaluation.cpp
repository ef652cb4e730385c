#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "host/error.hpp"
#include "host/evaluation.hpp"

namespace bitcluster {
namespace {

bool throws(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error&) {
    return true;
  }
  return false;
}

std::vector<ImageScore> score_all(const std::vector<float>& logits, const std::vector<std::int32_t>& labels,
                                  int classes) {
  std::vector<ImageScore> scores(labels.size());
  score(logits, labels, classes, scores);
  return scores;
}

TEST(Score, RanksByHand) {
  const std::vector<float> row = {6, 5, 4, 3, 2, 1, 0};
  std::vector<float> logits;
  std::vector<std::int32_t> labels;
  for (int label = 0; label < 7; ++label) {
    logits.insert(logits.end(), row.begin(), row.end());
    labels.push_back(label);
  }
  const std::vector<ImageScore> scores = score_all(logits, labels, 7);
  for (int label = 0; label < 7; ++label) {
    EXPECT_EQ(scores[label].top1, label == 0);
    EXPECT_EQ(scores[label].top5, label < 5);
  }
}

TEST(Score, TheLowestIndexWinsATie) {
  const std::vector<ImageScore> scores = score_all({2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {0, 5}, 6);
  EXPECT_EQ(scores[0].top1, 1);
  EXPECT_EQ(scores[1].top1, 0);
  EXPECT_EQ(scores[1].top5, 0);
}

TEST(Score, FewClasses) {
  const std::vector<ImageScore> scores = score_all({1, 0, 1, 0}, {0, 1}, 2);
  EXPECT_EQ(scores[1].top1, 0);
  EXPECT_EQ(scores[1].top5, 1);
}

TEST(Score, CrossEntropyIsStable) {
  EXPECT_FLOAT_EQ(score_all({0, 0, 0, 0}, {2}, 4)[0].cross_entropy, float(std::log(4.0)));
  EXPECT_FLOAT_EQ(score_all({0, float(std::log(3.0))}, {0}, 2)[0].cross_entropy, float(std::log(4.0)));
  EXPECT_EQ(score_all({10000, -10000}, {1}, 2)[0].cross_entropy, 20000.0f);
  EXPECT_EQ(score_all({10000, -10000}, {0}, 2)[0].cross_entropy, 0.0f);
}

TEST(Score, RejectsBadInput) {
  EXPECT_TRUE(throws([] { score_all({1, NAN}, {0}, 2); }));
  EXPECT_TRUE(throws([] { score_all({1, INFINITY}, {0}, 2); }));
  EXPECT_TRUE(throws([] { score_all({1, 2}, {2}, 2); }));
  EXPECT_TRUE(throws([] { score_all({1, 2}, {-1}, 2); }));
  EXPECT_TRUE(throws([] { score_all({1, 2, 3}, {0}, 2); }));
}

TEST(Summarize, Means) {
  const std::vector<ImageScore> scores = {{1, 1, 0.5f}, {0, 1, 1.5f}, {0, 0, 4.0f}, {1, 1, 0}};
  const Accuracy accuracy = summarize(scores);
  EXPECT_EQ(accuracy.images, 4);
  EXPECT_EQ(accuracy.top1, 0.5);
  EXPECT_EQ(accuracy.top5, 0.75);
  EXPECT_EQ(accuracy.cross_entropy, 1.5);
  EXPECT_EQ(summarize({}).images, 0);
}

/// `both` right twice, `lost`, `won`, the rest wrong twice.
PairedLoss loss_of(int both, int lost, int won, int neither) {
  std::vector<ImageScore> before, after;
  const auto add = [&](int count, int first, int second) {
    for (int i = 0; i < count; ++i) {
      before.push_back({std::uint8_t(first), 1, 0});
      after.push_back({std::uint8_t(second), 1, 0});
    }
  };
  add(both, 1, 1);
  add(lost, 1, 0);
  add(won, 0, 1);
  add(neither, 0, 0);
  return paired_loss(before, after);
}

TEST(PairedLoss, WorkedByHand) {
  // 98 pairs, 12 lost, 4 won: n = 100, b = 12.5, c = 4.5, difference 0.08, variance (17 - 64 / 100) / 100^2
  const PairedLoss loss = loss_of(70, 12, 4, 12);
  EXPECT_NEAR(loss.loss, 8.0 / 98, 1e-15);
  EXPECT_NEAR(loss.low, 0.08 - 1.96 * std::sqrt(16.36) / 100, 1e-5);
  EXPECT_NEAR(loss.high, 0.08 + 1.96 * std::sqrt(16.36) / 100, 1e-5);
}

TEST(PairedLoss, NoDifferenceStillHasAnInterval) {
  // n = 102, b = c = 0.5: +- 1.96 * 1 / 102
  const PairedLoss loss = loss_of(50, 0, 0, 50);
  EXPECT_EQ(loss.loss, 0);
  EXPECT_NEAR(loss.high, 1.96 / 102, 1e-6);
  EXPECT_NEAR(loss.low, -1.96 / 102, 1e-6);
}

TEST(PairedLoss, GainsAreNegativeAndSwapMirrors) {
  const PairedLoss forward = loss_of(10, 3, 8, 5), backward = loss_of(10, 8, 3, 5);
  EXPECT_LT(forward.loss, 0);
  EXPECT_DOUBLE_EQ(forward.low, -backward.high);
  EXPECT_LE(loss_of(0, 1, 0, 0).high, 1.0);
}

TEST(PairedLoss, RejectsDifferentImages) {
  const std::vector<ImageScore> one(1), two(2);
  EXPECT_TRUE(throws([&] { paired_loss(one, two); }));
  EXPECT_TRUE(throws([&] { paired_loss({}, {}); }));
}

}  // namespace
}  // namespace bitcluster
