#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace bitcluster {

/// The schema of results files lives here and in results.cpp alone. Bumped with every incompatible
/// change.
inline constexpr int schema_version = 3;

/// What is equal between the designs of one comparison: the column `basis`.
inline constexpr const char* throughput_basis = "throughput";
inline constexpr const char* area_basis = "area";

struct Provenance {
  std::string program_version, git_commit, config, date;
  std::int64_t seed = 0;
  std::int64_t ranks = 1;
  std::vector<std::string> devices;  //!< one line per rank: host, backend with its threads
};

using Value = std::variant<std::int64_t, double, std::string>;

struct Column {
  enum class Type { integer, real, text };
  std::string name;
  Type type;
  std::string unit;         //!< "1" for counts and fractions
  std::string description;  //!< the one written definition of this column
};

/// Equal-length columns; becomes one HDF5 group of one-dimensional datasets.
struct Table {
  std::string name;
  std::vector<Column> columns;
  std::vector<std::vector<Value>> rows;

  /// Appends a row; Error if the number or types of the values do not match the columns.
  void add(std::vector<Value> row);
  int column(const std::string& column_name) const;  //!< Error if there is none
  double number(std::size_t row, const std::string& column_name) const;
  const std::string& text(std::size_t row, const std::string& column_name) const;
};

/// One results file. The tables start empty, with their columns as the schema defines them.
struct Results {
  Provenance provenance;
  Table layers, sensitivity, evaluations, assignments, front, accelerators, emulation, summary, skipped;

  Results();
  std::vector<Table*> tables();
  std::vector<const Table*> tables() const;
};

/// The models that have rows of their own, in order.
std::vector<std::string> models_of(const Results& results);

/// Appends the rows of all tables but /accelerators, which are of no model.
void append_rows(Results& to, const Results& from);

/// Checks before long work that `path` can be written later: Error if its folder is missing or not writable, or it is a
/// folder.
void check_writable(const std::string& path);

/// Writes beside the target, syncs, then renames: the final name never holds a partial file. Error (with the system's
/// reason) if anything fails; the target is then as it was.
void write_results(const std::string& path, const Results& results);

/// Error if the file is unreadable, not a results file, or of another schema version.
Results read_results(const std::string& path);

/// Joins results of different models that one program made from one config: the rows of all files in their order, those
/// of /accelerators once, ranks and devices of all, the latest date. /summary, which needs all models at once, is left
/// to summarize(). Error if programs, configs or accelerators differ, or a model is in two files.
Results merge_results(const std::vector<std::string>& paths);

}  // namespace bitcluster
