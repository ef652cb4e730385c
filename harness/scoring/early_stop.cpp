#include "harness/scoring/early_stop.hpp"

#include <utility>

#include "harness/journal/content_keys.hpp"

namespace bitcluster {

std::vector<int> stage_ends(int blocks) {
  std::vector<int> ends;
  for (const int parts : {8, 4, 2, 1}) {
    const int end = (blocks + parts - 1) / parts;
    if (ends.empty() || end > ends.back()) ends.push_back(end);
  }
  return ends;
}

Looks::Looks(std::vector<ScoreExtent> extents, std::vector<StopTest> stops, int images)
    : extents_(std::move(extents)),
      stops_(std::move(stops)),
      ends_(stage_ends(image_blocks(images))),
      arrived_(extents_.size(), std::vector<char>(image_blocks(images))),
      whole_(extents_.size()),
      looks_(extents_.size()) {
  for (const ScoreExtent& extent : extents_) images_.push_back(extent.images);
}

void Looks::arrive(int variant, int block, std::span<const ImageScore> scores) {
  if (!extents_[variant].may_stop || stopped(variant)) return;
  arrived_[variant][block] = true;
  int& whole = whole_[variant];
  while (whole < int(arrived_[variant].size()) && arrived_[variant][whole]) ++whole;
  for (std::size_t& look = looks_[variant]; look < ends_.size() && ends_[look] <= whole; ++look) {
    const int seen = ends_[look] * block_images;
    if (seen >= extents_[variant].images) return;
    if (stops_[variant](scores.first(seen))) {
      images_[variant] = seen;
      return;
    }
  }
}

}  // namespace bitcluster
