#include "host/inference/accuracy.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "host/base/error.hpp"

namespace bitcluster {

void score(std::span<const float> logits, std::span<const std::int32_t> labels, int classes,
           std::span<ImageScore> scores) {
  if (classes <= 0 || logits.size() != labels.size() * std::size_t(classes) || scores.size() != labels.size()) {
    throw Error(fmt::format("cannot score {} images", labels.size()),
                fmt::format("{} logits and {} scores do not fit {} classes", logits.size(), scores.size(), classes),
                "give one label, one score and all logits of every image");
  }
  for (std::size_t image = 0; image < labels.size(); ++image) {
    const std::span<const float> row = logits.subspan(image * std::size_t(classes), std::size_t(classes));
    const std::int32_t label = labels[image];
    if (label < 0 || label >= classes) {
      throw Error(fmt::format("image {} has label {}", image, label),
                  fmt::format("the network has {} classes", classes), "use data that fits the network");
    }
    int output = 0, rank = 0;
    for (int i = 0; i < classes; ++i) {
      if (!std::isfinite(row[i])) {
        throw Error(fmt::format("image {} cannot be scored", image),
                    fmt::format("its logit {} is infinite or not a number", i), "check the model");
      }
      if (row[i] > row[output]) output = i;
      rank += row[i] > row[label] || (row[i] == row[label] && i < label);
    }
    const double largest = row[output];
    double sum = 0;
    for (const float logit : row) sum += std::exp(logit - largest);
    scores[image] = {.top1 = std::uint8_t(rank < 1),
                     .top5 = std::uint8_t(rank < 5),
                     .output = std::uint16_t(std::min<int>(output, std::numeric_limits<std::uint16_t>::max())),
                     .cross_entropy = float(largest + std::log(sum) - row[label])};
  }
}

Accuracy summarize(std::span<const ImageScore> scores) {
  Accuracy accuracy;
  accuracy.images = int(scores.size());
  for (const ImageScore& image : scores) {
    accuracy.top1 += image.top1;
    accuracy.top5 += image.top5;
    accuracy.cross_entropy += image.cross_entropy;
  }
  const double count = std::max<double>(1, accuracy.images);
  accuracy.top1 /= count;
  accuracy.top5 /= count;
  accuracy.cross_entropy /= count;
  return accuracy;
}

namespace {

/// Images that only one of two networks classifies rightly.
struct Discordant {
  double lost = 0, won = 0;
};

Discordant compare(std::span<const ImageScore> before, std::span<const ImageScore> after) {
  Discordant pairs;
  for (std::size_t i = 0; i < after.size(); ++i) {
    pairs.lost += before[i].top1 && !after[i].top1;
    pairs.won += !before[i].top1 && after[i].top1;
  }
  return pairs;
}

PairedLoss interval(const Discordant& pairs, double count) {
  // Agresti and Min, Statistics in Medicine 24 (2005) 729-740, adjusted Wald interval: with 1/2 added to each of the
  // four cells, so n + 2 pairs, b = lost + 1/2, c = won + 1/2:
  // (b - c) / n +- z sqrt(b + c - (b - c)^2 / n) / n
  constexpr double z = normal_quantile;
  const double n = count + 2, b = pairs.lost + 0.5, c = pairs.won + 0.5;
  const double center = (b - c) / n, half = z * std::sqrt(b + c - (b - c) * (b - c) / n) / n;
  return {(pairs.lost - pairs.won) / count, std::max(-1.0, center - half), std::min(1.0, center + half)};
}

}  // namespace

PairedLoss paired_loss(std::span<const ImageScore> before, std::span<const ImageScore> after) {
  if (before.empty() || before.size() != after.size()) {
    throw Error(fmt::format("cannot compare {} images with {}", before.size(), after.size()),
                "a paired loss needs the same images before and after", "evaluate both on the same split");
  }
  return interval(compare(before, after), double(before.size()));
}

double images_to_resolve(double wanted, double resolvable, int images) {
  return std::ceil(images * (resolvable / wanted) * (resolvable / wanted));  // the width falls with the root of them
}

bool will_exceed(std::span<const ImageScore> before, std::span<const ImageScore> first_after, double budget,
                 bool confident) {
  if (first_after.empty()) return false;
  if (first_after.size() >= before.size()) return !is_within(paired_loss(before, first_after), budget, confident);
  constexpr double z = 3.090232306167814;  // 99.9 % quantile of the normal distribution
  const double count = double(before.size()), seen = double(first_after.size()), n = seen + 2;
  const Discordant pairs = compare(before, first_after);
  double most_won = 0;
  for (const ImageScore& image : before.subspan(first_after.size())) most_won += !image.top1;
  const double difference = pairs.lost - pairs.won;
  const double variance = (pairs.lost + pairs.won + 1 - difference * difference / n) / n;
  const double least = difference / n - z * std::sqrt(variance / seen * (1 - seen / count));
  // the least loss on all images, and of the totals that give it those with the narrowest interval: no fewer images
  // can be lost or won in all than were already
  const double total = std::max(difference - most_won, std::floor(least * count));
  Discordant all = pairs;
  (total > difference ? all.lost : all.won) += std::abs(total - difference);
  return !is_within(interval(all, count), budget, confident);
}

}  // namespace bitcluster
