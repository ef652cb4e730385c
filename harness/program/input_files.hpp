#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "harness/ranks/ranks.hpp"
#include "host/results/rows.hpp"

namespace bitcluster {

/// The files that a command's results depend on: noted before they are read, so that results never stand beside the
/// checksum of something else. The root alone reads them: other nodes need not see models and most images. Collective.
class InputFiles {
 public:
  explicit InputFiles(const Ranks& ranks) : ranks_(ranks) {}

  /// Notes a file, once. kind: see InputRow.
  void add(const std::string& kind, const std::string& path);
  void add_accelerator(const std::string& path);
  void add_model(const std::string& path);
  /// A data description with the files of these of its splits, which have to be there.
  void add_data(const std::string& path, const std::set<std::string>& splits);

  /// All of them with their checksums, in the order of adding; none on other ranks than the root. Error for a file that
  /// cannot be read.
  std::vector<InputRow> rows() const;

  /// Error if one was changed or replaced since it was added.
  void check_unchanged() const;

 private:
  /// What a change of a file changes, too.
  struct State {
    std::uint64_t file = 0;                             //!< number in its file system
    std::int64_t bytes = 0, modified = 0, changed = 0;  //!< times [ns]

    bool operator==(const State&) const = default;
  };
  static State state_of(const std::string& path);

  struct Input {
    std::string kind, path;
    State state;
  };
  const Ranks& ranks_;
  std::vector<Input> inputs_;
};

}  // namespace bitcluster
