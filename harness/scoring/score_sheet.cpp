#include "harness/scoring/score_sheet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <utility>

#include "host/base/error.hpp"

namespace bitcluster {

ScoreSheet::ScoreSheet(ScoreJob job, const Ranks& ranks, Journal* journal, const std::vector<Key>* of_blocks)
    : job_(std::move(job)),
      journal_(journal),
      variants_(int(job_.costs.size())),
      images_(job_.images->count),
      blocks_(image_blocks(images_)),
      scores_(variants_, std::vector<ImageScore>(images_)),
      known_(std::size_t(variants_) * blocks_),
      same_(variants_) {
  job_.extents.resize(variants_, {images_, false});
  asked_ = job_.extents;
  std::iota(same_.begin(), same_.end(), 0);
  if (journal_) find(*of_blocks);
  ranks.broadcast(known_);
  ranks.broadcast(std::as_writable_bytes(std::span(same_)));
  share_found(ranks);
  for (int v = 0; v < variants_; ++v) {
    ScoreExtent& shared = job_.extents[same_[v]];
    shared.images = std::max(shared.images, asked_[v].images);
    shared.may_stop = shared.may_stop && asked_[v].may_stop;
  }
  start();
}

Payload ScoreSheet::work(const Tile& tile) const {
  const std::vector<float> logits = job_.work(tile.variants, tile.first_image, tile.images);
  std::vector<ImageScore> scores(tile.variants.size() * tile.images);
  const std::size_t count = tile.images;
  for (std::size_t v = 0; v < tile.variants.size(); ++v) {
    score(std::span(logits).subspan(v * count * job_.classes, count * job_.classes),
          std::span(job_.images->labels).subspan(tile.first_image, count), job_.classes,
          std::span(scores).subspan(v * count, count));
  }
  const auto bytes = std::as_bytes(std::span(scores));
  return {bytes.begin(), bytes.end()};
}

void ScoreSheet::start() {
  looks_.emplace(job_.extents, job_.stops, images_);
  missing_.clear();
  for (int v = 0; v < variants_; ++v) {
    for (int block = 0; block < blocks_; ++block) {
      missing_.push_back(first_of(block + 1) - first_of(block));
      if (is_found(v, block)) looks_->arrive(v, block, scores_[v]);
    }
  }
}

void ScoreSheet::take(const Tile& tile, const Payload& payload, bool record) {
  if (payload.empty()) return;
  const std::size_t bytes = tile.images * sizeof(ImageScore);
  if (payload.size() != tile.variants.size() * bytes) {
    throw Error("the scores of some images cannot be used",
                fmt::format("a rank sent {} bytes for {} variants on {} images, of {} bytes each", payload.size(),
                            tile.variants.size(), tile.images, sizeof(ImageScore)),
                "start the same program on all ranks");
  }
  const int end = tile.first_image + tile.images;
  for (std::size_t i = 0; i < tile.variants.size(); ++i) {
    const int v = tile.variants[i];
    std::memcpy(scores_[v].data() + tile.first_image, payload.data() + i * bytes, bytes);
    for (int block = tile.first_image / block_images; first_of(block) < end; ++block) {
      int& left = missing_[cell(v, block)];
      left -= std::min(end, first_of(block + 1)) - std::max(tile.first_image, first_of(block));
      if (left > 0) continue;
      if (record && journal_) journal_->append(cells_[cell(v, block)], std::as_bytes(block_of(v, block)));
      looks_->arrive(v, block, scores_[v]);
    }
  }
}

bool ScoreSheet::needs(const Tile& tile) const {
  return !std::all_of(tile.variants.begin(), tile.variants.end(), [&](int v) { return looks_->stopped(v); });
}

Scores ScoreSheet::result() const {
  Scores result;
  for (int v = 0; v < variants_; ++v) {
    const auto begin = scores_[same_[v]].begin();
    result.emplace_back(begin, begin + std::min(asked_[v].images, looks_->images(same_[v])));
  }
  return result;
}

/// What is in the journal; several variants of one content are worked out once.
void ScoreSheet::find(const std::vector<Key>& of_blocks) {
  std::map<Key, int> first;
  for (int v = 0; v < variants_; ++v) same_[v] = first.try_emplace(job_.keys[v], v).first->second;
  cells_.resize(known_.size());
  for (int block = 0; block < blocks_; ++block) {
    for (int v = 0; v < variants_; ++v) {
      Key& key = cells_[cell(v, block)] = KeyBuilder().add(job_.keys[v]).add(of_blocks[block]).key();
      const std::span<std::byte> scores = std::as_writable_bytes(block_of(v, block));
      const auto payload = journal_->find(key, scores.size());
      known_[cell(v, block)] = std::byte(same_[v] != v || payload);
      if (payload) std::ranges::copy(*payload, scores.begin());
    }
  }
}

/// What the root found, to all ranks.
void ScoreSheet::share_found(const Ranks& ranks) {
  std::vector<std::byte> found;
  const auto for_each_found = [&](const auto& action) {
    for (int v = 0; v < variants_; ++v) {
      for (int block = 0; block < blocks_; ++block) {
        if (is_found(v, block)) action(std::as_writable_bytes(block_of(v, block)));
      }
    }
  };
  for_each_found([&](std::span<std::byte> part) { found.insert(found.end(), part.begin(), part.end()); });
  ranks.broadcast(found);
  const std::byte* from = found.data();
  for_each_found([&](std::span<std::byte> part) {
    std::copy_n(from, part.size(), part.begin());
    from += part.size();
  });
}

}  // namespace bitcluster
