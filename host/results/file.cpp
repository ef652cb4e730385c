#include "host/results/file.hpp"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "host/base/error.hpp"
#include "host/files/hdf5.hpp"
#include "host/files/posix_file.hpp"

namespace bitcluster {
namespace {

/// How the values of a column are stored: enums by their names.
template <class T>
using Stored = std::conditional_t<std::is_enum_v<T>, std::string, T>;

constexpr const char* devices_description = "one line per rank: host, backend with its threads";

// ---- Writing

template <class Row>
void write_table(hid_t file, const std::vector<Row>& rows) {
  const Hdf5Id group = create_group(file, Row::table);
  Row::for_each_column([&](const auto& column) {
    using Value = ColumnValue<Row, decltype(column.get)>;
    std::vector<Stored<Value>> values;
    for (const Row& row : rows) {
      if constexpr (std::is_enum_v<Value>) {
        values.push_back(to_string(column.of(row)));
      } else {
        values.push_back(column.of(row));
      }
    }
    write_column(group, std::string(column.name), values, std::string(column.unit), std::string(column.description));
  });
}

void write_provenance(hid_t file, const Provenance& provenance) {
  const Hdf5Id group = create_group(file, "provenance");
  write_attribute(group, "schema_version", std::int64_t(schema_version));
  write_attribute(group, "program_version", provenance.program_version);
  write_attribute(group, "git_commit", provenance.git_commit);
  write_attribute(group, "date", provenance.date);
  write_attribute(group, "seed", provenance.seed);
  write_attribute(group, "ranks", provenance.ranks);
  // not an attribute, which ends at 64 KiB
  write_column(group, "config", std::vector{provenance.config}, "none", "text of the configuration file");
  write_column(group, "devices", provenance.devices, "none", devices_description);
}

// ---- Reading

[[noreturn]] void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why,
              "give a results file that this version of bitcluster wrote, or make it again");
}

Hdf5Id open_table(hid_t file, const std::string& name, const std::string& path) {
  if (!has_member(file, name)) reject_file(path, "it has no group /" + name);
  return open_group(file, name, fmt::format("cannot read group /{} of '{}'", name, path));
}

/// Memory that the rows of one table may take: a thousand times what the default study needs.
constexpr std::size_t most_of_table = std::size_t(1) << 30;  // [byte]

template <class T>
std::vector<T> read_column(hid_t group, const std::string& table, const std::string& name, const std::string& path,
                           std::size_t row_size) {
  if (!has_member(group, name)) reject_file(path, fmt::format("column '{}' of /{} is missing", name, table));
  const Hdf5Dataset column(group, name, fmt::format("cannot read column /{}/{} of '{}'", table, name, path));
  return column.column<T>(most_of_table / row_size);
}

/// No number of the schema is infinite, and only one that may be not available is none.
bool is_usable(double value, double unset) { return std::isfinite(value) || (std::isnan(value) && std::isnan(unset)); }

template <class Row>
void read_table(hid_t file, const std::string& path, std::vector<Row>& rows) {
  const Hdf5Id group = open_table(file, Row::table, path);
  std::string first;  // column
  Row::for_each_column([&](const auto& column) {
    using Value = ColumnValue<Row, decltype(column.get)>;
    const auto values = read_column<Stored<Value>>(group, Row::table, std::string(column.name), path, sizeof(Row));
    if (first.empty()) {
      first = column.name;
      rows.resize(values.size());
    }
    if (values.size() != rows.size()) {
      reject_file(path, fmt::format("columns '{}' and '{}' of /{} have {} and {} rows", first, column.name, Row::table,
                                    rows.size(), values.size()));
    }
    const Row unset;
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if constexpr (std::is_enum_v<Value>) {
        if (!from_string(values[row], column.of(rows[row]))) {
          reject_file(path, fmt::format("column '{}' of /{} holds '{}'", column.name, Row::table, values[row]));
        }
      } else {
        if constexpr (std::is_same_v<Value, double>) {
          if (!is_usable(values[row], column.of(unset))) {
            reject_file(path, fmt::format("column '{}' of /{} holds {}", column.name, Row::table,
                                          std::isnan(values[row]) ? "what is not a number" : "an infinite number"));
          }
        }
        column.of(rows[row]) = values[row];
      }
    }
  });
}

Hdf5Attribute open_attribute(hid_t group, const std::string& name, const std::string& path) {
  auto attribute = Hdf5Attribute::find(group, name, fmt::format("cannot read attribute '{}' of '{}'", name, path));
  if (!attribute) reject_file(path, "/provenance has no attribute '" + name + "'");
  return std::move(*attribute);
}

Provenance read_provenance(hid_t file, const std::string& path) {
  const Hdf5Id group = open_table(file, "provenance", path);
  const auto integer = [&](const char* name) { return open_attribute(group, name, path).integer(); };
  const auto text = [&](const char* name) { return open_attribute(group, name, path).text(); };
  const auto texts = [&](const char* name) {
    return read_column<std::string>(group, "provenance", name, path, sizeof(std::string));
  };
  const std::int64_t version = integer("schema_version");
  if (version != schema_version) {
    reject_file(path, fmt::format("its schema is version {}, this program reads version {}", version, schema_version));
  }
  Provenance provenance;
  provenance.program_version = text("program_version");
  provenance.git_commit = text("git_commit");
  const std::vector<std::string> configs = texts("config");
  if (configs.size() != 1)
    reject_file(path, fmt::format("/provenance/config has {} texts instead of one", configs.size()));
  provenance.config = configs[0];
  provenance.date = text("date");
  provenance.seed = integer("seed");
  provenance.ranks = integer("ranks");
  provenance.devices = texts("devices");
  return provenance;
}

}  // namespace

void write_results(const std::string& path, const Results& results) {
  check_writable(path);
  write_durably(path, hdf5_bytes([&](hid_t file) {
                  write_provenance(file, results.provenance);
                  for_each_table([&](auto table) { write_table(file, results.*table); });
                }));
}

Results read_results(const std::string& path) {
  const Hdf5Id file = open_hdf5(path);
  Results results;
  results.provenance = read_provenance(file, path);
  for_each_table([&](auto table) { read_table(file, path, results.*table); });
  return results;
}

}  // namespace bitcluster
