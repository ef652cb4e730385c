#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/nccl.hpp"
#include "harness/ranks/ranks.hpp"
#include "host/data/dataset.hpp"
#include "host/model/network.hpp"

namespace bitcluster {

/// Reads models and images once, on the root, and gives them to all ranks: from GPU to GPU where they are joined, else
/// by MPI. Of images that can be read anywhere in their file every rank reads what it works on, when it does. All calls
/// are collective; what a rank cannot read in them is the same error on all.
class SharedInputs {
 public:
  /// gpus: null without.
  SharedInputs(const Ranks& ranks, NcclGroup* gpus) : ranks_(ranks), gpus_(gpus) {}

  /// import_onnx() of one file.
  Network network(const std::string& path) const;

  /// Looks through a split before any work, on the root, all its labels included. Error if it has fewer than `asked`
  /// images (0: all of them) or does not fit the network; a warning on stderr, once, if the network and the data seem
  /// to have another number of classes.
  void check(const Dataset& data, const std::string& split, int asked, const Network& network) const;

  /// At most `limit` images of a split (0: all), which fit the network; shuffled where there is a seed. As long as
  /// somebody has them they are not read again.
  std::shared_ptr<const Images> images(const Dataset& data, const std::string& split, int limit, const Network& network,
                                       std::optional<std::uint64_t> seed = {}) const;

 private:
  using ImagesKey = std::tuple<std::string, std::string, int, std::optional<std::uint64_t>>;

  template <class T>
  void share(std::vector<T>& values) const;
  Images read(const Dataset& data, const std::string& split, int limit) const;
  void warn_once(const std::string& warning) const;

  const Ranks& ranks_;
  NcclGroup* gpus_;
  mutable std::map<ImagesKey, std::weak_ptr<const Images>> read_;
  mutable std::map<std::pair<std::string, std::string>, SplitContents> contents_;  // what check() has looked through
  mutable std::set<std::string> warnings_;
};

}  // namespace bitcluster
