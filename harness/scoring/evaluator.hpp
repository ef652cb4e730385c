#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/journal/content_keys.hpp"
#include "harness/journal/journal.hpp"
#include "harness/ranks/ranks.hpp"
#include "harness/scoring/early_stop.hpp"
#include "harness/scoring/score_sheet.hpp"
#include "host/data/dataset.hpp"
#include "host/inference/accuracy.hpp"
#include "host/inference/backend.hpp"

namespace bitcluster {

/// Images that are in float32 at once, per thread.
inline constexpr int float_images_per_thread = 16;

/// Variants of an integer network to score: on the images in their extents (empty: all), or, where one may stop, on
/// those up to the look that `stop` was true at.
struct ScoreRequest {
  Backend& backend;  //!< has the network loaded
  std::shared_ptr<const IntegerNetwork> network;
  std::shared_ptr<const Images> images;
  std::vector<Variant> variants;
  std::vector<ScoreExtent> extents = {};
  StopTest stop = {};
};

/// A float32 network to score on all images.
struct FloatRequest {
  const Network& network;
  std::shared_ptr<const Images> images;
  const std::vector<float>& input_table;
};

/// What all ranks work on at once, so that there is work for all of them.
struct ScoringWork {
  std::vector<ScoreRequest> requests = {};
  std::vector<FloatRequest> floats = {};
  TaskList others = {};  //!< begun before the scores; what they cost: in products
};

struct ScoringResult {
  std::vector<Scores> scores;                   //!< (requests)
  std::vector<std::vector<ImageScore>> floats;  //!< (floats)
  std::vector<Payload> others;
};

/// Scores images with the help of all ranks. Every call is collective and gives the same scores on every rank, whatever
/// their number: a task is some variants on a range of images, and no score depends on which task it was part of. Later
/// images of a variant that may stop are begun before its looks only where a rank would have to wait otherwise, and do
/// not count then. Requests for one network on the same images are scored as one. With a journal, scores are recorded
/// per variant and block of images, under the content of network, weights, images and labels: none is worked out twice,
/// neither by a resumed run nor within one.
class Evaluator {
 public:
  /// journal: on the root, null without one. Collective.
  Evaluator(const Ranks& ranks, Journal* journal);

  const Ranks& ranks() const { return ranks_; }
  Journal* journal() { return journal_; }
  KeyCache& keys() { return keys_; }

  ScoringResult work_on(const ScoringWork& work, const std::string& label);

 private:
  /// The jobs of some requests, and where in them the variants of every request are.
  struct JobPart {
    std::size_t job, first, count;
  };
  struct Jobs {
    std::vector<ScoreJob> jobs;
    std::vector<std::vector<Variant>> variants;  // (jobs)
    std::vector<JobPart> places;                 // (requests)
  };
  void add(const std::vector<ScoreRequest>& requests, Jobs& jobs);
  void add(const std::vector<FloatRequest>& requests, Jobs& jobs);

  const Ranks& ranks_;
  Journal* journal_;
  bool records_;      // whether there is a journal, on all ranks
  int most_threads_;  // of a rank
  KeyCache keys_;
};

}  // namespace bitcluster
