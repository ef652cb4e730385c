#pragma once

#include <string>
#include <vector>

#include "harness/ranks.hpp"
#include "host/backend.hpp"
#include "host/dataset.hpp"
#include "host/evaluation.hpp"

namespace bitcluster {

/// Scores images with the help of all ranks. Every call is collective, and gives the same scores on every rank,
/// whatever their number: a task is a range of variants on a range of images, and no score depends on which task it was
/// part of.
class Evaluator {
 public:
  Evaluator(const Ranks& ranks, Backend& backend) : ranks_(ranks), backend_(backend) {}

  const Ranks& ranks() const { return ranks_; }
  Backend& backend() { return backend_; }

  /// Scores of the float32 network, (images).
  std::vector<ImageScore> score_float(const Network& network, const Images& images,
                                      const std::vector<float>& input_table, const std::string& label);

  /// Scores of every variant of the integer network, (variants)(images).
  std::vector<std::vector<ImageScore>> score(const IntegerNetwork& network, const Images& images,
                                             const std::vector<Variant>& variants, const std::string& label);

 private:
  const Ranks& ranks_;
  Backend& backend_;
};

}  // namespace bitcluster
