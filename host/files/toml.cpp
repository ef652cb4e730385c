#include "host/files/toml.hpp"

#include <fmt/format.h>

// Its parser's assertions fail on some syntax errors ("[[[a"), which it then reports; with NDEBUG it would have the
// compiler believe that they hold.
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <set>

#include "host/base/closest.hpp"
#include "host/base/error.hpp"
#include "host/files/posix_file.hpp"

namespace bitcluster {
namespace {

/// A number with all its digits, or where they are many with its first six.
std::string number_text(double value) {
  constexpr double most = 1e15, least = 1e-6;  // below the one every whole number is exact; {:f} ends at the other
  if (value != 0 && !(std::abs(value) < most && std::abs(value) >= least)) return fmt::format("{:g}", value);
  std::string text = fmt::format("{:f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string range_text(double lowest, double highest) {
  if (highest == std::numeric_limits<double>::max() && lowest == -highest) return "give a finite number";
  return fmt::format("use a value from {} to {}", number_text(lowest), number_text(highest));
}

}  // namespace

struct TomlTable::State {
  std::string path;
  std::string prefix;                 // of this table inside the file, with a dot at the end
  std::shared_ptr<toml::table> root;  // keeps `table` alive
  const toml::table* table = nullptr;
  std::set<std::string> known;

  const toml::node* find(const std::string& key) {
    known.insert(key);
    return table->get(key);
  }
};

TomlTable TomlTable::load(const std::string& path) { return parse(read_text(path), path); }

TomlTable TomlTable::parse(const std::string& text, const std::string& path) {
  auto state = std::make_shared<State>();
  state->path = path;
  try {
    state->root = std::make_shared<toml::table>(toml::parse(text));
  } catch (const toml::parse_error& error) {
    throw Error(fmt::format("cannot read '{}' line {}", path, error.source().begin.line),
                std::string(error.description()), "correct the TOML syntax there");
  }
  state->table = state->root.get();
  return TomlTable(state);
}

std::string TomlTable::read_text(const std::string& path) {
  constexpr std::size_t most = std::size_t(16) << 20;  // [byte], of a thousand models; in memory it is fifty times that
  const std::vector<std::byte> bytes = read_input(path, most);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const std::string& TomlTable::path() const { return state_->path; }

bool TomlTable::has(const std::string& key) const { return state_->find(key) != nullptr; }

bool TomlTable::has_text(const std::string& key) const { return has(key) && state_->find(key)->is_string(); }

std::vector<std::string> TomlTable::keys() const {
  std::vector<std::string> names;
  for (const auto& [key, node] : *state_->table) names.emplace_back(key.str());
  std::sort(names.begin(), names.end());
  return names;
}

void TomlTable::reject(const std::string& key, const std::string& why, const std::string& what_to_do) const {
  const toml::node* node = state_->table->get(key);
  const std::string line = node ? fmt::format(" line {}", node->source().begin.line) : "";
  throw Error(fmt::format("'{}'{}: {}{}", state_->path, line, state_->prefix, key), why, what_to_do);
}

namespace {

template <class T>
std::optional<T> value_of(const toml::node* node) {
  // exact for text and booleans; an integer may stand where a number is wanted
  if constexpr (std::is_same_v<T, double>) {
    return node->is_number() ? node->value<double>() : std::nullopt;
  } else {
    return node->value_exact<T>();
  }
}

template <class T>
const char* type_name() {
  if constexpr (std::is_same_v<T, std::string>) return "a text in quotes";
  if constexpr (std::is_same_v<T, std::int64_t>) return "a whole number";
  if constexpr (std::is_same_v<T, double>) return "a number";
  return "true or false";
}

[[noreturn]] void reject_missing(const TomlTable& table, const std::string& key, const std::string& what_to_do) {
  const auto meant = closest(key, table.keys());
  table.reject(key, "this required key is missing",
               meant ? fmt::format("{}; is '{}' it, misspelled?", what_to_do, *meant) : what_to_do);
}

template <class T>
T required(const TomlTable& table, const toml::node* node, const std::string& key) {
  if (!node) reject_missing(table, key, std::string("add it: ") + type_name<T>());
  const auto value = value_of<T>(node);
  if (!value) table.reject(key, "the value has the wrong type", std::string("give ") + type_name<T>());
  return *value;
}

template <class T>
std::vector<T> required_array(const TomlTable& table, const toml::node* node, const std::string& key) {
  if (!node) reject_missing(table, key, std::string("add an array of ") + type_name<T>());
  std::vector<T> values;
  const auto* array = node->as_array();
  if (!array) table.reject(key, "the value is not an array", "put it in [ ]");
  for (const toml::node& element : *array) {
    const auto value = value_of<T>(&element);
    if (!value) table.reject(key, "an element has the wrong type", std::string("give ") + type_name<T>());
    values.push_back(*value);
  }
  return values;
}

template <class T>
void check_range(const TomlTable& table, const std::string& key, T value, T lowest, T highest) {
  if (!(value >= lowest && value <= highest)) {
    const std::string text = std::is_same_v<T, double> ? number_text(double(value)) : fmt::to_string(value);
    table.reject(key, text + " is out of range", range_text(double(lowest), double(highest)));
  }
}

}  // namespace

std::string TomlTable::text(const std::string& key) { return required<std::string>(*this, state_->find(key), key); }

std::int64_t TomlTable::integer(const std::string& key, std::int64_t lowest, std::int64_t highest) {
  const auto value = required<std::int64_t>(*this, state_->find(key), key);
  check_range(*this, key, value, lowest, highest);
  return value;
}

double TomlTable::number(const std::string& key, double lowest, double highest) {
  const auto value = required<double>(*this, state_->find(key), key);
  check_range(*this, key, value, lowest, highest);
  return value;
}

bool TomlTable::boolean(const std::string& key) { return required<bool>(*this, state_->find(key), key); }

std::vector<std::string> TomlTable::texts(const std::string& key) {
  return required_array<std::string>(*this, state_->find(key), key);
}

std::vector<std::int64_t> TomlTable::integers(const std::string& key, std::int64_t lowest, std::int64_t highest) {
  const auto values = required_array<std::int64_t>(*this, state_->find(key), key);
  for (const std::int64_t value : values) check_range(*this, key, value, lowest, highest);
  return values;
}

std::vector<double> TomlTable::numbers(const std::string& key) {
  return required_array<double>(*this, state_->find(key), key);
}

TomlTable TomlTable::table(const std::string& key) {
  const toml::node* node = state_->find(key);
  if (!node || !node->is_table()) {
    reject(key, node ? "the value is not a table" : "this required table is missing",
           "add [" + state_->prefix + key + "]");
  }
  auto inner =
      std::make_shared<State>(State{state_->path, state_->prefix + key + ".", state_->root, node->as_table(), {}});
  return TomlTable(inner);
}

std::vector<TomlTable> TomlTable::tables(const std::string& key) {
  const toml::node* node = state_->find(key);
  if (!node || !node->is_array_of_tables()) {
    reject(key, node ? "the value is not an array of tables" : "this required array of tables is missing",
           "add [[" + state_->prefix + key + "]]");
  }
  std::vector<TomlTable> result;
  for (const toml::node& element : *node->as_array()) {
    result.push_back(TomlTable(std::make_shared<State>(
        State{state_->path, state_->prefix + key + ".", state_->root, element.as_table(), {}})));
  }
  return result;
}

std::string TomlTable::text(const std::string& key, const std::string& otherwise) {
  return has(key) ? text(key) : otherwise;
}

std::int64_t TomlTable::integer(const std::string& key, std::int64_t lowest, std::int64_t highest,
                                std::int64_t otherwise) {
  return has(key) ? integer(key, lowest, highest) : otherwise;
}

double TomlTable::number(const std::string& key, double lowest, double highest, double otherwise) {
  return has(key) ? number(key, lowest, highest) : otherwise;
}

bool TomlTable::boolean(const std::string& key, bool otherwise) { return has(key) ? boolean(key) : otherwise; }

std::string TomlTable::choice(const std::string& key, const std::vector<std::string>& choices) {
  const std::string value = text(key);
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
  reject(key, "'" + value + "' is not known", fmt::format("use one of: {}", fmt::join(choices, ", ")));
}

std::string TomlTable::resolve(const std::string& path) const {
  const std::filesystem::path given(path);
  return given.is_absolute() ? path
                             : (std::filesystem::path(state_->path).parent_path() / given).lexically_normal().string();
}

void TomlTable::finish() const {
  for (const auto& [key, node] : *state_->table) {
    const std::string name(key.str());
    if (state_->known.contains(name)) continue;
    const auto meant = closest(name, state_->known);
    reject(name, "this key is not known here",
           meant ? "did you mean '" + *meant + "'? Otherwise remove it" : "remove it");
  }
}

}  // namespace bitcluster
