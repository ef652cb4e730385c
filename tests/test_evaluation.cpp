#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "host/error.hpp"
#include "host/evaluation.hpp"

namespace bitcluster {
namespace {

TEST(Evaluation, ScoresTopClassesAndCrossEntropyByHand) {
  const std::vector<float> logits = {0, 1, 2, 3, 4, 5, /* */ 5, 4, 3, 2, 1, 0};
  const std::vector<std::int32_t> labels = {5, 5};
  std::vector<ImageScore> scores(2);
  score(logits, labels, 6, scores);
  EXPECT_EQ(scores[0].top1, 1);
  EXPECT_EQ(scores[1].top1, 0);
  EXPECT_EQ(scores[1].top5, 0);  // five classes come before it
  double sum = 0;
  for (int c = 0; c < 6; ++c) sum += std::exp(double(c));
  EXPECT_FLOAT_EQ(scores[0].cross_entropy, float(std::log(sum) - 5));
  const Accuracy accuracy = summarize(scores);
  EXPECT_EQ(accuracy.images, 2);
  EXPECT_EQ(accuracy.top1, 0.5);
  EXPECT_EQ(accuracy.top5, 0.5);
}

TEST(Evaluation, TheLowestClassWinsTies) {
  const std::vector<float> logits = {1, 1, 0};
  std::vector<ImageScore> scores(1);
  score(logits, std::vector<std::int32_t>{1}, 3, scores);
  EXPECT_EQ(scores[0].top1, 0);
  EXPECT_EQ(scores[0].top5, 1);
  score(logits, std::vector<std::int32_t>{0}, 3, scores);
  EXPECT_EQ(scores[0].top1, 1);
}

TEST(Evaluation, LargeLogitsDoNotOverflow) {
  std::vector<ImageScore> scores(1);
  score(std::vector<float>{1e30f, 0}, std::vector<std::int32_t>{0}, 2, scores);
  EXPECT_EQ(scores[0].cross_entropy, 0);
}

TEST(Evaluation, RejectsWhatCannotBeScored) {
  std::vector<ImageScore> scores(1);
  const std::vector<std::int32_t> label = {0}, beyond = {2};
  EXPECT_THROW(score(std::vector<float>{std::nanf(""), 0}, label, 2, scores), Error);
  EXPECT_THROW(score(std::vector<float>{0, 0}, beyond, 2, scores), Error);
  EXPECT_THROW(score(std::vector<float>{0}, label, 2, scores), Error);
}

TEST(Evaluation, PairedLossFollowsAgrestiAndMin) {
  // 100 images: 6 lost, 2 won. Cells 6.5 and 2.5 of 102: centre 4/102, variance (9 - 16/102) / 102^2.
  std::vector<ImageScore> before(100), after(100);
  for (int i = 0; i < 100; ++i) {
    before[i].top1 = i < 50;
    after[i].top1 = i < 44 || (i >= 50 && i < 52);
  }
  const PairedLoss loss = paired_loss(before, after);
  EXPECT_DOUBLE_EQ(loss.loss, 0.04);
  EXPECT_NEAR((loss.low + loss.high) / 2, 4.0 / 102, 1e-12);
  EXPECT_NEAR((loss.high - loss.low) / 2, 1.959963985 * std::sqrt(9 - 16.0 / 102) / 102, 1e-9);
  EXPECT_THROW(paired_loss(before, std::span(after).first(99)), Error);
}

}  // namespace
}  // namespace bitcluster
