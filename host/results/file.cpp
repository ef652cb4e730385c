#include "host/results/file.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <optional>
#include <system_error>

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
  write_attribute(group, "config", provenance.config);
  write_attribute(group, "date", provenance.date);
  write_attribute(group, "seed", provenance.seed);
  write_attribute(group, "ranks", provenance.ranks);
  write_column(group, "devices", provenance.devices, "none", devices_description);
}

/// The bytes of the results file. Built in memory, so that HDF5 itself never meets a full disk, after which it can
/// neither close nor drop the file.
std::vector<std::byte> file_image(const Results& results) {
  const std::string what = "cannot build the results file in memory";
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  constexpr std::size_t growth = 1 << 20;
  hdf5_check(H5Pset_fapl_core(access, growth, false), what);
  const Hdf5Id file(H5Fcreate("results", H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, what);
  write_provenance(file, results.provenance);
  for_each_table([&](auto table) { write_table(file, results.*table); });
  hdf5_check(H5Fflush(file, H5F_SCOPE_LOCAL), what);
  const auto size = hdf5_check(H5Fget_file_image(file, nullptr, 0), what);
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  hdf5_check(H5Fget_file_image(file, bytes.data(), bytes.size()), what);
  return bytes;
}

// ---- Reading

[[noreturn]] void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why,
              "give a results file that this version of bitcluster wrote, or make it again");
}

Hdf5Id open_group(hid_t file, const std::string& name, const std::string& path) {
  if (H5Lexists(file, name.c_str(), H5P_DEFAULT) <= 0) reject_file(path, "it has no group /" + name);
  return Hdf5Id(H5Gopen2(file, name.c_str(), H5P_DEFAULT), H5Gclose,
                fmt::format("cannot read group /{} of '{}'", name, path));
}

/// A column of a group, checked.
Hdf5Dataset open_column(hid_t group, const std::string& table, const std::string& name, H5T_class_t wanted,
                        const std::string& path) {
  if (H5Lexists(group, name.c_str(), H5P_DEFAULT) <= 0) {
    reject_file(path, fmt::format("column '{}' of /{} is missing", name, table));
  }
  const std::string what = fmt::format("cannot read column /{}/{} of '{}'", table, name, path);
  Hdf5Dataset column(Hdf5Id(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose, what), what);
  if (column.extents().size() != 1 || column.type_class() != wanted || column.has_variable_texts()) {
    reject_file(path, fmt::format("column '{}' of /{} has another type or shape than the schema's", name, table));
  }
  return column;
}

template <class T>
constexpr H5T_class_t storage_class() {
  return std::is_same_v<T, std::int64_t> ? H5T_INTEGER : std::is_same_v<T, double> ? H5T_FLOAT : H5T_STRING;
}

template <class Row>
void read_table(hid_t file, const std::string& path, std::vector<Row>& rows) {
  const Hdf5Id group = open_group(file, Row::table, path);
  std::string first;  // column
  Row::for_each_column([&](const auto& column) {
    using Value = ColumnValue<Row, decltype(column.get)>;
    const auto values = open_column(group, Row::table, std::string(column.name), storage_class<Stored<Value>>(), path)
                            .template column<Stored<Value>>();
    if (first.empty()) {
      first = column.name;
      rows.resize(values.size());
    }
    if (values.size() != rows.size()) {
      reject_file(path, fmt::format("columns '{}' and '{}' of /{} have {} and {} rows", first, column.name, Row::table,
                                    rows.size(), values.size()));
    }
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if constexpr (std::is_enum_v<Value>) {
        if (!from_string(values[row], column.of(rows[row]))) {
          reject_file(path, fmt::format("column '{}' of /{} holds '{}'", column.name, Row::table, values[row]));
        }
      } else {
        column.of(rows[row]) = values[row];
      }
    }
  });
}

Hdf5Attribute open_attribute(hid_t group, const std::string& name, const std::string& path) {
  auto attribute = Hdf5Attribute::find(group, name, fmt::format("cannot read attribute '{}' of '{}'", name, path));
  if (!attribute) reject_file(path, "/provenance has no attribute '" + name + "'");
  if (attribute->count() != 1) reject_file(path, "attribute '" + name + "' of /provenance is not one value");
  return std::move(*attribute);
}

Provenance read_provenance(hid_t file, const std::string& path) {
  const Hdf5Id group = open_group(file, "provenance", path);
  const auto integer = [&](const char* name) { return open_attribute(group, name, path).integer(); };
  const auto text = [&](const char* name) { return open_attribute(group, name, path).text(); };
  const std::int64_t version = integer("schema_version");
  if (version != schema_version) {
    reject_file(path, fmt::format("its schema is version {}, this program reads version {}", version, schema_version));
  }
  Provenance provenance;
  provenance.program_version = text("program_version");
  provenance.git_commit = text("git_commit");
  provenance.config = text("config");
  provenance.date = text("date");
  provenance.seed = integer("seed");
  provenance.ranks = integer("ranks");
  provenance.devices = open_column(group, "provenance", "devices", H5T_STRING, path).column<std::string>();
  return provenance;
}

}  // namespace

void write_results(const std::string& path, const Results& results) {
  check_writable(path);
  silence_hdf5();
  write_durably(path, file_image(results));
}

Results read_results(const std::string& path) {
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) reject_file(path, "there is no such file");
  const Hdf5Id file = open_hdf5(path);
  Results results;
  results.provenance = read_provenance(file, path);
  for_each_table([&](auto table) { read_table(file, path, results.*table); });
  return results;
}

}  // namespace bitcluster
