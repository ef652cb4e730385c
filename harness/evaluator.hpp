#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "harness/journal.hpp"
#include "harness/ranks.hpp"
#include "harness/tiles.hpp"
#include "host/backend.hpp"
#include "host/dataset.hpp"
#include "host/evaluation.hpp"

namespace bitcluster {

/// Products of one image.
VariantCost variant_cost(const Network& network, const Variant& variant);

/// Scores images with the help of all ranks. Every call is collective, and gives the same scores on every rank,
/// whatever their number: a task is some variants on a range of images, and no score depends on which task it was part
/// of. Scores are recorded per variant and block of images, under the content of network, weights, images and labels:
/// none is worked out twice, neither by a resumed run nor within one.
class Evaluator {
 public:
  /// journal: on the root, null without one.
  Evaluator(const Ranks& ranks, Backend& backend, Journal* journal)
      : ranks_(ranks), backend_(backend), journal_(journal) {}

  const Ranks& ranks() const { return ranks_; }
  Backend& backend() { return backend_; }
  Journal* journal() { return journal_; }

  /// What names the records of these images is worked out once while this lives, instead of for every call.
  class NamedImages {
   public:
    NamedImages(Evaluator& evaluator, const Images& images);
    ~NamedImages() { evaluator_.named_ = nullptr; }
    NamedImages(const NamedImages&) = delete;

   private:
    friend class Evaluator;
    Evaluator& evaluator_;
    const Images& images_;
    std::vector<Key> keys_;  // of the blocks
  };

  /// Scores of the float32 network, (images).
  std::vector<ImageScore> score_float(const Network& network, const Images& images,
                                      const std::vector<float>& input_table, const std::string& label);

  /// Scores of every variant of the integer network, (variants)(images); of the images in its extent (empty: all), or,
  /// where it may stop, of those up to the look that `stop` was true at. Nothing depends on the number of ranks: later
  /// images of a variant are begun before its looks only where a rank would have to wait otherwise, and do not count
  /// then.
  std::vector<std::vector<ImageScore>> score(const IntegerNetwork& network, const Images& images,
                                             const std::vector<Variant>& variants, const std::string& label,
                                             std::vector<Extent> extents = {}, const StopTest& stop = {});

 private:
  /// Logits of some variants (ascending) on a range of images, (variants, images, classes).
  using Work = std::function<std::vector<float>(std::span<const int> variants, int first_image, int images)>;

  /// What has to be scored, of every variant.
  struct Request {
    std::vector<Key> keys;  //!< on the root only, and only if there is a journal
    std::vector<VariantCost> costs;
    std::vector<Extent> extents;
    StopTest stop;
  };
  std::vector<std::vector<ImageScore>> score_variants(Request request, const Images& images, int classes,
                                                      const std::string& label, const Work& work);

  const Ranks& ranks_;
  Backend& backend_;
  Journal* journal_;
  const NamedImages* named_ = nullptr;
};

}  // namespace bitcluster
