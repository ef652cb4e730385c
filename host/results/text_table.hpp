#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bitcluster {

// Names come from files: all that is made here is printable() (host/base/printable.hpp).

/// A table of cells as text, to be printed: columns of names on the left edge of their width, numbers on the right.
struct TextTable {
  std::string title;
  std::vector<std::string> headers;
  std::size_t names = 0;  //!< so many leading columns hold names
  std::vector<std::vector<std::string>> rows = {};
  std::vector<std::string> notes = {};
};

/// For a terminal, at most 120 columns wide: names are cut, notes wrapped.
std::string to_text(const TextTable& table);

std::string to_markdown(const TextTable& table);

/// Breaks at spaces so that no line is wider than that; further lines are indented by two.
std::string wrapped(const std::string& text);

/// A number with so many decimals, "-" for what is not finite.
std::string fixed(double value, int digits);
std::string percent(double fraction, int digits = 2);

/// A cell as RFC 4180 describes it; a number that there is none for is empty, others have the fewest digits that read
/// back.
std::string csv_cell(std::int64_t value);
std::string csv_cell(double value);
std::string csv_cell(const std::string& text);

}  // namespace bitcluster
