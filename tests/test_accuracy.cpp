#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "host/base/error.hpp"
#include "host/inference/accuracy.hpp"

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

TEST(Score, KeepsTheOutputThatIsHighest) {
  const std::vector<ImageScore> scores = score_all({1, 3, 2, 5, 5, 4, 0, 0, 0}, {2, 1, 2}, 3);
  EXPECT_EQ(scores[0].output, 1);
  EXPECT_EQ(scores[1].output, 0);  // the first of equals, as for top-1
  EXPECT_EQ(scores[2].output, 0);
  std::vector<float> many(70000);
  many.back() = 1;
  EXPECT_EQ(score_all(many, {0}, 70000)[0].output, 65535);
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
  const std::vector<ImageScore> scores = {{1, 1, 0, 0.5f}, {0, 1, 0, 1.5f}, {0, 0, 0, 4.0f}, {1, 1, 0, 0}};
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

TEST(PairedLoss, SaysWhatLossImagesResolve) {
  // 16 of 100 images classified otherwise, 8 each way: 0 +- 1.96 sqrt(17) / 102
  const double resolvable = resolvable_loss(loss_of(70, 8, 8, 14));
  EXPECT_NEAR(resolvable, 1.959964 * std::sqrt(17.0) / 102, 1e-6);
  // half of it takes four times as many
  EXPECT_EQ(images_to_resolve(0.01, 0.02, 100), 400);
  EXPECT_EQ(images_to_resolve(0.02, 0.02, 100), 100);
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

/// `lost` of the images that were right are wrong, `won` of those that were wrong are right; in random order.
struct Population {
  std::vector<ImageScore> before, after;

  Population(int images, int wrong, int lost, int won, std::mt19937& random) {
    std::vector<int> order(images);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    for (const int i : order) {
      const bool right = i >= wrong, changed = right ? i < wrong + lost : i < won;
      before.push_back({std::uint8_t(right), 1, 0});
      after.push_back({std::uint8_t(right != changed), 1, 0});
    }
  }
};

TEST(WillExceed, RarelyGivesUpWhatIsWithinTheBudget) {
  // populations just within a budget of 1 %, few and many discordant images; looks after 1/8, 1/4 and 1/2
  std::mt19937 random(1);
  constexpr int images = 2000, trials = 4000;
  for (const int won : {0, 10, 60}) {
    for (const bool confident : {false, true}) {
      int lost = won + 21;
      const auto boundary = [&](int some) {
        std::mt19937 same(7);
        const Population population(images, 160, some, won, same);
        return is_within(paired_loss(population.before, population.after), 0.01, confident);
      };
      while (lost > 0 && !boundary(lost)) --lost;
      ASSERT_TRUE(boundary(lost) && !boundary(lost + 1));
      for (const int seen : {images / 8, images / 4, images / 2}) {
        int given_up = 0;
        for (int trial = 0; trial < trials; ++trial) {
          const Population population(images, 160, lost, won, random);
          given_up += will_exceed(population.before, std::span(population.after).first(seen), 0.01, confident);
        }
        // one in 1000 expects 4 of 4000; 12 or more then have a probability below 0.001
        EXPECT_LT(given_up, 12) << won << " " << confident << " " << seen;
      }
    }
  }
}

TEST(WillExceed, GivesUpWhatIsFarBeyond) {
  std::mt19937 random(2);
  int given_up = 0;
  for (int trial = 0; trial < 100; ++trial) {
    const Population population(4000, 320, 280, 40, random);  // a loss of 6 %
    given_up += will_exceed(population.before, std::span(population.after).first(500), 0.01, true);
  }
  EXPECT_GT(given_up, 50);
}

TEST(WillExceed, IsSureWhereNothingCanBeWonAnyMore) {
  // all that were wrong before were seen: of 1000 images 11 are lost at the end of a look
  std::vector<ImageScore> before(1000, {1, 1, 0}), after = before;
  for (int i = 0; i < 10; ++i) after[i].top1 = 0;
  EXPECT_FALSE(will_exceed(before, std::span(after).first(999), 0.01, false));
  after[10].top1 = 0;
  EXPECT_TRUE(will_exceed(before, std::span(after).first(999), 0.01, false));
  before[999].top1 = 0;  // could still be won
  EXPECT_FALSE(will_exceed(before, std::span(after).first(999), 0.01, false));
}

TEST(WillExceed, AtTheEndIsTheLossItself) {
  std::vector<ImageScore> before(1000, {1, 1, 0}), after = before;
  for (int i = 0; i < 10; ++i) after[i].top1 = 0;
  EXPECT_FALSE(will_exceed(before, after, 0.01, false));
  EXPECT_TRUE(will_exceed(before, after, 0.01, true));
  EXPECT_FALSE(will_exceed(before, {}, 0, true));
}

TEST(PairedLoss, RejectsDifferentImages) {
  const std::vector<ImageScore> one(1), two(2);
  EXPECT_TRUE(throws([&] { paired_loss(one, two); }));
  EXPECT_TRUE(throws([&] { paired_loss({}, {}); }));
}

}  // namespace
}  // namespace bitcluster
