#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/journal.hpp"
#include "harness/keys.hpp"
#include "harness/ranks.hpp"
#include "harness/tiles.hpp"
#include "host/backend.hpp"
#include "host/dataset.hpp"
#include "host/evaluation.hpp"

namespace bitcluster {

/// Images that are in float32 at once, per thread.
inline constexpr int float_images_per_thread = 16;

/// Products of one image.
VariantCost variant_cost(const Network& network, const Variant& variant);

/// Scores of variants, (variants)(images).
using Scores = std::vector<std::vector<ImageScore>>;

/// Variants of an integer network to score: on the images in their extents (empty: all), or, where one may stop, on
/// those up to the look that `stop` was true at.
struct ScoreRequest {
  Backend& backend;  //!< has the network loaded
  std::shared_ptr<const IntegerNetwork> network;
  std::shared_ptr<const Images> images;
  std::vector<Variant> variants;
  std::vector<Extent> extents = {};
  StopTest stop = {};
};

/// A float32 network to score on all images.
struct FloatRequest {
  const Network& network;
  std::shared_ptr<const Images> images;
  const std::vector<float>& input_table;
};

/// Scores images with the help of all ranks. Every call is collective, takes requests for any number of networks, so
/// that there is work for all ranks, and gives the same scores on every rank, whatever their number: a task is some
/// variants on a range of images, and no score depends on which task it was part of. Later images of a variant that may
/// stop are begun before its looks only where a rank would have to wait otherwise, and do not count then. Requests for
/// one network on the same images are scored as one. With a journal, scores are recorded per variant and block of
/// images, under the content of network, weights, images and labels: none is worked out twice, neither by a resumed run
/// nor within one.
class Evaluator {
 public:
  /// journal: on the root, null without one.
  Evaluator(const Ranks& ranks, Journal* journal) : ranks_(ranks), journal_(journal) {}

  const Ranks& ranks() const { return ranks_; }
  Journal* journal() { return journal_; }
  KeyCache& keys() { return keys_; }

  /// (requests)
  std::vector<Scores> score(const std::vector<ScoreRequest>& requests, const std::string& label);
  std::vector<std::vector<ImageScore>> score_float(const std::vector<FloatRequest>& requests, const std::string& label);

 private:
  struct Job;
  class Sheet;
  std::vector<Scores> run(std::vector<Job> jobs, const std::string& label);

  const Ranks& ranks_;
  Journal* journal_;
  KeyCache keys_;
};

}  // namespace bitcluster
