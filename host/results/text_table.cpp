#include "host/results/text_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <sstream>

#include "host/base/printable.hpp"

namespace bitcluster {
namespace {

constexpr std::size_t text_width = 120;
constexpr std::size_t gap = 2;  // between columns

/// Width on the screen: UTF-8 continuation bytes take none.
std::size_t columns_of(const std::string& text) {
  return std::size_t(std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xC0) != 0x80; }));
}

/// The text cut to a width; a cut shows as "..".
std::string cut(const std::string& text, std::size_t width) {
  if (columns_of(text) <= width) return text;
  std::string head;
  for (const char byte : text) {
    if ((byte & 0xC0) != 0x80 && columns_of(head) == width - 2) break;
    head += byte;
  }
  return head + "..";
}

std::size_t width_of(const std::vector<std::size_t>& widths) {
  std::size_t sum = gap * (widths.size() - 1);
  for (const std::size_t width : widths) sum += width;
  return sum;
}

/// Of every column: what it holds, unless the whole is too wide; then names give way, numbers never.
std::vector<std::size_t> column_widths(const TextTable& table) {
  constexpr std::size_t narrowest = 8;
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < table.headers.size(); ++c) {
    widths.push_back(columns_of(table.headers[c]));
    for (const auto& row : table.rows) widths[c] = std::max(widths[c], columns_of(row[c]));
  }
  while (width_of(widths) > text_width) {
    const auto widest = std::max_element(widths.begin(), widths.begin() + std::ptrdiff_t(table.names));
    if (*widest <= narrowest) break;
    --*widest;
  }
  return widths;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) {
    std::string safe;
    for (const char byte : printable(cell)) {
      if (byte == '|') safe += '\\';
      safe += byte;
    }
    line += fmt::format(" {} |", safe);
  }
  return line + "\n";
}

}  // namespace

std::string wrapped(const std::string& text) {
  std::istringstream words(printable(text));
  std::string lines, line, word;
  while (words >> word) {
    while (word.size() > text_width - 2) {  // no space to break at
      lines += fmt::format("{}  {}\n", line.empty() ? "" : line + "\n", word.substr(0, text_width - 2));
      line.clear();
      word.erase(0, text_width - 2);
      if (word.empty()) break;
    }
    if (!line.empty() && line.size() + 1 + word.size() > text_width) {
      lines += line + "\n";
      line.assign(1, ' ');
    }
    if (!line.empty()) line += ' ';
    line += word;
  }
  if (!line.empty()) lines += line + "\n";
  return lines;
}

std::string to_text(const TextTable& of) {
  TextTable table = of;
  for (auto& row : table.rows) {
    for (std::string& cell : row) cell = printable(cell);
  }
  const std::vector<std::size_t> widths = column_widths(table);
  const auto row_text = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string cell = c < table.names ? cut(cells[c], widths[c]) : cells[c];
      const std::string padding(widths[c] - std::min(widths[c], columns_of(cell)), ' ');
      if (c > 0) line.append(gap, ' ');
      line += c < table.names ? cell + padding : padding + cell;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
  };
  std::string text = table.title + "\n" + row_text(table.headers);
  text += std::string(std::min(width_of(widths), text_width), '-') + "\n";
  for (const auto& row : table.rows) text += row_text(row);
  for (const std::string& note : table.notes) text += wrapped(note);
  return text + "\n";
}

std::string to_markdown(const TextTable& table) {
  std::string text = fmt::format("**{}**\n\n{}|", table.title, markdown_row(table.headers));
  for (std::size_t c = 0; c < table.headers.size(); ++c) text += c < table.names ? " :--- |" : " ---: |";
  text += "\n";
  for (const auto& row : table.rows) text += markdown_row(row);
  for (const std::string& note : table.notes) text += fmt::format("\n{}\n", printable(note));
  return text + "\n";
}

std::string fixed(double value, int digits) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "-";
}

std::string percent(double fraction, int digits) { return fixed(100 * fraction, digits); }

std::string csv_cell(std::int64_t value) { return fmt::to_string(value); }

std::string csv_cell(double value) {
  if (std::isnan(value)) return "";
  char buffer[64];
  return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), value).ptr};  // fmt ends whole numbers in .0
}

std::string csv_cell(const std::string& of) {
  const std::string text = printable(of);
  if (text.find_first_of(",\"") == std::string::npos) return text;
  std::string quoted(1, '"');
  for (const char byte : text) quoted.append(byte == '"' ? 2 : 1, byte);
  return quoted + '"';
}

}  // namespace bitcluster
