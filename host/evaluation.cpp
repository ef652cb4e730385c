#include "host/evaluation.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "host/error.hpp"

namespace bitcluster {

void score(std::span<const float> logits, std::span<const std::int32_t> labels, int classes,
           std::span<ImageScore> scores) {
  if (logits.size() != labels.size() * std::size_t(classes) || scores.size() != labels.size()) {
    throw Error("cannot score images", "logits, labels and classes do not fit each other", "report this as a bug");
  }
  for (std::size_t image = 0; image < labels.size(); ++image) {
    const std::span row = logits.subspan(image * classes, classes);
    const int label = labels[image];
    if (label < 0 || label >= classes) {
      throw Error("cannot score image " + std::to_string(image),
                  "its label " + std::to_string(label) + " is not one of the " + std::to_string(classes) + " classes",
                  "check the labels of the data");
    }
    int better = 0;  // classes that come before the label
    double highest = row[0], sum = 0;
    for (int c = 0; c < classes; ++c) {
      if (!std::isfinite(row[c])) {
        throw Error("cannot score image " + std::to_string(image), "logit " + std::to_string(c) + " is not finite",
                    "check the network's weights");
      }
      better += row[c] > row[label] || (row[c] == row[label] && c < label);
      highest = std::max(highest, double(row[c]));
    }
    for (const float logit : row) sum += std::exp(logit - highest);
    scores[image] = {std::uint8_t(better < 1), std::uint8_t(better < 5),
                     float(highest + std::log(sum) - double(row[label]))};
  }
}

Accuracy summarize(std::span<const ImageScore> scores) {
  Accuracy accuracy;
  accuracy.images = int(scores.size());
  if (scores.empty()) return accuracy;
  long top1 = 0, top5 = 0;
  for (const ImageScore& image : scores) {
    top1 += image.top1;
    top5 += image.top5;
    accuracy.cross_entropy += double(image.cross_entropy);
  }
  const double count = double(scores.size());
  accuracy.top1 = double(top1) / count;
  accuracy.top5 = double(top5) / count;
  accuracy.cross_entropy /= count;
  return accuracy;
}

PairedLoss paired_loss(std::span<const ImageScore> before, std::span<const ImageScore> after) {
  if (before.size() != after.size() || before.empty()) {
    throw Error("cannot compare two evaluations", "they are not of the same images", "report this as a bug");
  }
  long lost = 0, won = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    lost += before[i].top1 && !after[i].top1;
    won += !before[i].top1 && after[i].top1;
  }
  PairedLoss result;
  result.loss = double(lost - won) / double(before.size());
  // A. Agresti, Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
  // Medicine 24 (2005): add 1/2 to each cell of the 2 x 2 table, then Wald. Two cells are discordant, and the total
  // grows by 2.
  const double count = double(before.size()) + 2, b = double(lost) + 0.5, c = double(won) + 0.5;
  const double centre = (b - c) / count;
  constexpr double normal_quantile = 1.959963984540054;  // 97.5 % point of the standard normal distribution
  const double half_width = normal_quantile * std::sqrt(b + c - (b - c) * (b - c) / count) / count;
  result.low = centre - half_width;
  result.high = centre + half_width;
  return result;
}

}  // namespace bitcluster
