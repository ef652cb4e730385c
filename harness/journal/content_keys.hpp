#pragma once

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "harness/ranks/ranks.hpp"
#include "host/data/dataset.hpp"
#include "host/emulation/accelerator.hpp"
#include "host/files/content_hash.hpp"
#include "host/inference/integer_network.hpp"

namespace bitcluster {

// Names of contents, so that a result is found again only if everything that decides it is the same.

/// Topology and float weights.
Key content_key(const Network& network);
/// The network, formats and preprocessing, without the integer weights.
Key content_key(const IntegerNetwork& network);
Key content_key(const QuantizedWeights& weights);
/// All but the name.
Key content_key(const Accelerator& accelerator);

/// Images whose scores are one record of the journal: few enough for a kill to lose little, enough for a record to be
/// long.
inline constexpr int block_images = 128;

/// Keys of what is large or used often, worked out once as long as it lives.
class KeyCache {
 public:
  /// The network without its integer weights, then the weights of every layer.
  const std::vector<Key>& of(const std::shared_ptr<const IntegerNetwork>& network);
  /// One.
  const std::vector<Key>& of(const std::shared_ptr<const QuantizedWeights>& weights);
  /// Pixels and labels of every block. Collective: every rank reads its share of the images, which also shows that all
  /// of them can be read.
  const std::vector<Key>& of(const Ranks& ranks, const std::shared_ptr<const Images>& images);

 private:
  template <class T>
  const std::vector<Key>& find(const std::shared_ptr<const T>& object, const std::function<std::vector<Key>()>& make);

  std::map<const void*, std::pair<std::weak_ptr<const void>, std::vector<Key>>> keys_;  // by address
};

}  // namespace bitcluster
