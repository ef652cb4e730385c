#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace bitcluster {

/// One table of a TOML file, read strictly: every key must be asked for, and have the type asked for, or it is an Error
/// that names the file, the line and the key. Call finish() when all keys have been read.
class TomlTable {
 public:
  /// Error for an unreadable file or a syntax error.
  static TomlTable load(const std::string& path);
  /// The same of the text of a file that was at `path`.
  static TomlTable parse(const std::string& text, const std::string& path);
  /// The text of a file. Error if it is unreadable, or larger than 16 MiB.
  static std::string read_text(const std::string& path);

  bool has(const std::string& key) const;
  bool has_text(const std::string& key) const;  //!< whether its value is a text
  /// Keys in alphabetical order.
  std::vector<std::string> keys() const;

  /// Required values: Error if the key is missing.
  std::string text(const std::string& key);
  std::int64_t integer(const std::string& key, std::int64_t lowest, std::int64_t highest);
  double number(const std::string& key, double lowest, double highest);
  bool boolean(const std::string& key);
  std::vector<std::string> texts(const std::string& key);
  std::vector<std::int64_t> integers(const std::string& key, std::int64_t lowest, std::int64_t highest);
  std::vector<double> numbers(const std::string& key);
  TomlTable table(const std::string& key);
  std::vector<TomlTable> tables(const std::string& key);  //!< array of tables

  /// Values with a default for when the key is missing.
  std::string text(const std::string& key, const std::string& otherwise);
  std::int64_t integer(const std::string& key, std::int64_t lowest, std::int64_t highest, std::int64_t otherwise);
  double number(const std::string& key, double lowest, double highest, double otherwise);
  bool boolean(const std::string& key, bool otherwise);

  /// A required text that must be one of `choices`; Error lists them otherwise.
  std::string choice(const std::string& key, const std::vector<std::string>& choices);

  /// A path in the file, relative to the file's own folder unless absolute.
  std::string resolve(const std::string& path) const;

  /// Error if the table holds a key that was never asked for, naming it and the closest known key.
  void finish() const;

  /// Error about the value of a key of this table, with file and line.
  [[noreturn]] void reject(const std::string& key, const std::string& why, const std::string& what_to_do) const;

  const std::string& path() const;  //!< of the file

 private:
  struct State;
  explicit TomlTable(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace bitcluster
