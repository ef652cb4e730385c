#include "host/data/assignment_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "host/base/closest.hpp"
#include "host/base/error.hpp"
#include "host/files/toml.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {
namespace {

/// A line as cells by column.
struct Line {
  int number;
  std::map<std::string, std::string> cells;
};

class AssignmentFile {
 public:
  explicit AssignmentFile(const std::string& path) : path_(path), text_(TomlTable::read_text(path)) { parse(); }

  const std::vector<Line>& lines() const { return lines_; }

  [[noreturn]] void reject(int line, const std::string& why, const std::string& what_to_do) const {
    throw Error(fmt::format("cannot use assignment '{}'{}", path_, line > 0 ? fmt::format(", line {}", line) : ""), why,
                what_to_do);
  }

 private:
  void parse() {
    constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";  // spreadsheets write it
    if (text_.starts_with(byte_order_mark)) place_ = byte_order_mark.size();
    std::vector<std::string> columns;
    while (place_ < text_.size()) {
      number_ = 1 + int(std::count(text_.begin(), text_.begin() + std::ptrdiff_t(place_), '\n'));
      std::vector<std::string> cells = next_line();
      if (cells.size() == 1 && cells[0].empty()) continue;  // an empty line
      if (columns.empty()) {
        columns = std::move(cells);
        check(columns);
        continue;
      }
      if (cells.size() != columns.size()) {
        reject(number_, fmt::format("it has {} cells, the header has {}", cells.size(), columns.size()),
               "give every line a cell per column");
      }
      Line line{number_, {}};
      for (std::size_t i = 0; i < cells.size(); ++i) line.cells[columns[i]] = std::move(cells[i]);
      lines_.push_back(std::move(line));
    }
    if (lines_.empty()) reject(0, "it has no lines behind a header", "give a line per layer with weights");
  }

  void check(const std::vector<std::string>& columns) const {
    static const std::set<std::string> needed = {"layer", "preparation", "bits", "encoding", "terms"};
    const std::string what_to_do =
        "begin with layer,preparation,bits,encoding,terms and, if you like, rounding and exact";
    const std::set<std::string> there(columns.begin(), columns.end());
    if (there.size() != columns.size()) reject(number_, "it names a column twice", what_to_do);
    for (const std::string& column : needed) {
      if (!there.contains(column)) reject(number_, fmt::format("column '{}' is missing", column), what_to_do);
    }
    for (const std::string& column : there) {
      if (needed.contains(column) || column == "rounding" || column == "exact") continue;
      reject(number_, fmt::format("column '{}' is not known", column), what_to_do);
    }
  }

  /// One record; a quoted cell may hold commas, doubled quotes and line breaks.
  std::vector<std::string> next_line() {
    std::vector<std::string> cells(1);
    bool quoted = false;
    for (; place_ < text_.size(); ++place_) {
      const char byte = text_[place_];
      if (quoted && byte == '"' && text_.substr(place_, 2) == "\"\"") {
        cells.back() += text_[++place_];
      } else if (byte == '"' && (quoted || cells.back().empty())) {
        quoted = !quoted;
      } else if (quoted) {
        cells.back() += byte;
      } else if (byte == ',') {
        cells.emplace_back();
      } else if (byte == '\n') {
        ++place_;
        return cells;
      } else if (byte != '\r') {
        cells.back() += byte;
      }
    }
    if (quoted) reject(number_, "a quote is not closed", "close it");
    return cells;
  }

  std::string path_, text_;
  std::size_t place_ = 0;
  int number_ = 0;  // of the line
  std::vector<Line> lines_;
};

int read_number(const AssignmentFile& file, const Line& line, const std::string& column, int lowest, int highest) {
  const std::string& text = line.cells.at(column);
  int value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size() || value < lowest || value > highest) {
    file.reject(line.number, fmt::format("{} is '{}'", column, text),
                fmt::format("give a whole number from {} to {}", lowest, highest));
  }
  return value;
}

WeightFormat read_format(const AssignmentFile& file, const Line& line, const WeightFormat& reference) {
  const std::string& name = line.cells.at("preparation");
  const auto preparation = std::ranges::find(preparations(), name, &Preparation::name);
  if (preparation == preparations().end()) {
    std::vector<std::string_view> names;
    for (const Preparation* known : preparations()) names.push_back(known->name);
    file.reject(line.number, fmt::format("there is no preparation '{}'", name),
                fmt::format("use one of {}", fmt::join(names, ", ")));
  }
  WeightFormat format = reference;
  format.bits = read_number(file, line, "bits", 4, 16);
  if (*preparation == &plain_weights) {
    if (format.bits != reference.bits) {
      file.reject(line.number, fmt::format("integer weights have {} bits here", reference.bits),
                  "give that number, or a config with other bits");
    }
    return format;
  }
  format.preparation = *preparation;
  format.terms = read_number(file, line, "terms", 1, format.bits);
  try {
    format.encoding = encoding_from_string(line.cells.at("encoding"));
    const auto rounding = line.cells.find("rounding");
    if (rounding != line.cells.end()) format.rounding = rounding_from_string(rounding->second);
    if (line.cells.contains("exact")) format.exact = read_number(file, line, "exact", 0, 1) == 1;
    format.preparation->scale_search(format);  // whether it can be
  } catch (const Error& error) {
    if (std::string_view(error.what()).starts_with("cannot use assignment")) throw;
    file.reject(line.number, error.what(), "correct it there");
  }
  return format;
}

}  // namespace

std::vector<WeightFormat> load_assignment(const std::string& path, std::span<const std::string> layers,
                                          const WeightFormat& reference) {
  const AssignmentFile file(path);
  std::map<std::string, WeightFormat> formats;
  const Preparation* used = nullptr;
  for (const Line& line : file.lines()) {
    const std::string& layer = line.cells.at("layer");
    if (std::ranges::find(layers, layer) == layers.end()) {
      const auto meant = closest(layer, layers);
      file.reject(line.number, fmt::format("the network has no layer '{}' with weights", layer),
                  meant ? fmt::format("did you mean '{}'?", *meant) : "`bitcluster inspect` lists them");
    }
    const WeightFormat format = read_format(file, line, reference);
    if (!formats.emplace(layer, format).second) {
      file.reject(line.number, fmt::format("layer '{}' is there twice", layer), "remove one of the lines");
    }
    if (format.preparation == &plain_weights) continue;
    if (used && used != format.preparation) {
      file.reject(line.number, fmt::format("it mixes {} and {}", used->name, format.preparation->name),
                  "use one preparation and integer: no design runs two");
    }
    used = format.preparation;
  }
  std::vector<WeightFormat> result;
  for (const std::string& layer : layers) {
    const auto found = formats.find(layer);
    if (found == formats.end()) {
      file.reject(0, fmt::format("layer '{}' is missing", layer),
                  "give every layer with weights a line; preparation integer keeps its weights");
    }
    result.push_back(found->second);
  }
  return result;
}

std::string assignment_name(const std::string& path) { return std::filesystem::path(path).stem().string(); }

}  // namespace bitcluster
