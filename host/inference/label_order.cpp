#include "host/inference/label_order.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace bitcluster {
namespace {

/// Of one label.
struct OfLabel {
  std::map<int, int> learned;  // output: images, of every second image of the label
  int images = 0;
  int output = 0;  // the most frequent of `learned`
};

/// What the images are called: the most frequent output of every label, from every second image of it.
std::map<int, OfLabel> learn(std::span<const ImageScore> scores, std::span<const std::int32_t> labels) {
  std::map<int, OfLabel> of_labels;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    OfLabel& of = of_labels[labels[i]];
    if (of.images++ % 2 == 0) ++of.learned[scores[i].output];
  }
  for (auto& [label, of] : of_labels) {
    of.output = label;  // which wins where several are as frequent
    for (const auto& [output, images] : of.learned) {
      if (images > of.learned[of.output]) of.output = output;
    }
  }
  return of_labels;
}

}  // namespace

std::string label_order_doubt(std::span<const ImageScore> scores, std::span<const std::int32_t> labels, int classes) {
  if (classes > std::numeric_limits<std::uint16_t>::max()) return "";  // ImageScore does not tell them apart
  std::map<int, OfLabel> of_labels = learn(scores, labels);
  std::map<int, int> named;  // output: labels
  for (const auto& [label, of] : of_labels) ++named[of.output];
  int moved = 0, alone = 0;
  std::vector<std::string> examples;
  for (const auto& [label, of] : of_labels) {
    if (of.output == label) continue;
    ++moved;
    alone += named[of.output] == 1;
    if (examples.size() < 3) {
      examples.push_back(fmt::format("{} for {}label {}", of.output, examples.empty() ? "most images of " : "", label));
    }
  }

  // judged by the other images of every label, or chance would make an order of its own
  int images = 0, right = 0, right_if_moved = 0, won = 0, lost = 0;
  for (auto& [label, of] : of_labels) of.images = 0;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    OfLabel& of = of_labels[labels[i]];
    if (of.images++ % 2 == 0) continue;
    ++images;
    right += scores[i].output == labels[i];
    right_if_moved += scores[i].output == of.output;
    if (of.output == labels[i]) continue;
    won += scores[i].output == of.output;
    lost += scores[i].output == labels[i];
  }
  // A poor network calls many labels by the name of another, which has its own images, too; in another order most
  // labels have an output of their own. By chance a difference of five standard deviations is one in three million.
  constexpr double sure = 5;
  const bool by_images = won >= 2 * lost && won - lost > sure * std::sqrt(double(won + lost));
  // with an image or two of a label: more labels have one than if outputs were drawn, each as often as any other
  const double drawn_alone = std::pow(1 - 1.0 / classes, double(of_labels.size()) - 1);
  const bool by_outputs = alone - moved * drawn_alone > sure * std::sqrt(moved * drawn_alone * (1 - drawn_alone));
  if (2 * alone <= moved || !(by_images || by_outputs)) return "";
  const std::string gain = by_images ? fmt::format("; counted so, top-1 would be about {:.1f} % instead of {:.1f} %",
                                                   100.0 * right_if_moved / images, 100.0 * right / images)
                                     : "";
  return fmt::format(
      "the labels seem to be numbered in another order than the network's outputs, of which the highest is {}{}{}; "
      "compare the order of the classes of model and data",
      fmt::join(examples, ", "), moved > int(examples.size()) ? ", ..." : "", gain);
}

}  // namespace bitcluster
