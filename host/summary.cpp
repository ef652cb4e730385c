#include "host/summary.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <sstream>
#include <tuple>

#include "host/error.hpp"

namespace bitcluster {
namespace {

constexpr double not_available = std::numeric_limits<double>::quiet_NaN();

/// Sums over the layers of one model on one accelerator with one assignment.
struct Totals {
  std::string model, assignment, accelerator;
  double cycles = 0, useful = 0, slots = 0, energy_pj = 0;

  double utilisation() const { return slots > 0 ? useful / slots : not_available; }
};

std::vector<Totals> total_emulation(const Table& emulation) {
  std::vector<Totals> totals;
  std::map<std::tuple<std::string, std::string, std::string>, std::size_t> places;
  for (std::size_t row = 0; row < emulation.rows.size(); ++row) {
    const std::string &model = emulation.text(row, "model"), &assignment = emulation.text(row, "assignment"),
                      &accelerator = emulation.text(row, "accelerator");
    const auto [place, is_new] = places.try_emplace({model, assignment, accelerator}, totals.size());
    if (is_new) totals.push_back({model, assignment, accelerator});
    Totals& total = totals[place->second];
    total.cycles += emulation.number(row, "cycles");
    total.useful += emulation.number(row, "useful");
    total.slots += emulation.number(row, "slots");
    total.energy_pj += emulation.number(row, "energy_pj");
  }
  return totals;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

constexpr const char* ratio_names[] = {"speedup_m_bc",      "energy_ratio_m_bc",      "speedup_l_bc",
                                       "energy_ratio_l_bc", "utilisation_ratio_m_bc", "utilisation_ratio_l_bc"};

/// Geometric mean of the values that are available; not available without any.
double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  int count = 0;
  for (const double value : values) {
    if (!std::isfinite(value) || value <= 0) continue;
    sum += std::log(value);
    ++count;
  }
  return count > 0 ? std::exp(sum / count) : not_available;
}

}  // namespace

void summarize(Results& results, const std::string& test_split) {
  const Table& evaluations = results.evaluations;
  const std::vector<Totals> totals = total_emulation(results.emulation);

  std::vector<std::string> models;
  std::map<std::pair<std::string, std::string>, std::size_t> evaluated;  // (model, assignment): row, the last counts
  for (std::size_t row = 0; row < evaluations.rows.size(); ++row) {
    if (evaluations.text(row, "split") != test_split) continue;
    add_once(models, evaluations.text(row, "model"));
    evaluated[{evaluations.text(row, "model"), evaluations.text(row, "assignment")}] = row;
  }
  for (const Totals& total : totals) add_once(models, total.model);

  const auto measured = [&](const std::string& model, const std::string& assignment, const std::string& column) {
    const auto found = evaluated.find({model, assignment});
    return found == evaluated.end() ? not_available : evaluations.number(found->second, column);
  };
  const auto bitcluster = [&](const std::string& model, const std::string& assignment) -> const Totals* {
    const auto found = std::find_if(totals.begin(), totals.end(), [&](const Totals& total) {
      return total.model == model && total.assignment == assignment;
    });
    return found == totals.end() ? nullptr : &*found;
  };
  const auto ratio = [](double numerator, double denominator) {
    return denominator > 0 && numerator > 0 ? numerator / denominator : not_available;
  };

  Table& summary = results.summary;
  summary.rows.clear();
  const auto add = [&](const Totals& total, bool emulated) {
    const auto of_evaluation = [&](const std::string& column) {
      return measured(total.model, total.assignment, column);
    };
    std::vector<Value> row = {total.model,
                              total.assignment,
                              total.accelerator,
                              measured(total.model, "float", "top1"),
                              of_evaluation("top1"),
                              of_evaluation("loss"),
                              of_evaluation("loss_low"),
                              of_evaluation("loss_high"),
                              of_evaluation("terms_mean"),
                              emulated ? total.cycles : not_available,
                              emulated ? total.utilisation() : not_available,
                              emulated ? total.energy_pj : not_available};
    const Totals* sides[] = {emulated ? bitcluster(total.model, "M-BC") : nullptr,
                             emulated ? bitcluster(total.model, "L-BC") : nullptr};
    for (const Totals* side : sides) {
      row.push_back(side ? ratio(total.cycles, side->cycles) : not_available);
      row.push_back(side ? ratio(total.energy_pj, side->energy_pj) : not_available);
    }
    for (const Totals* side : sides) {
      row.push_back(side ? ratio(side->utilisation(), total.utilisation()) : not_available);
    }
    summary.add(std::move(row));
  };

  for (const std::string& model : models) {
    for (const Totals& total : totals) {
      if (total.model == model) add(total, true);
    }
    for (const std::string assignment : {"integer", "M-BC", "L-BC"}) {
      if (evaluated.contains({model, assignment}) && !bitcluster(model, assignment)) {
        add({model, assignment, ""}, false);
      }
    }
  }

  std::map<std::pair<std::string, std::string>, std::vector<std::size_t>> rows_of;
  std::vector<std::pair<std::string, std::string>> order;  // accelerators as the emulation lists them
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    const std::pair key{summary.text(row, "accelerator"), summary.text(row, "assignment")};
    if (key.first.empty()) continue;
    if (!rows_of.contains(key)) order.push_back(key);
    rows_of[key].push_back(row);
  }
  for (const auto& key : order) {
    std::vector<Value> row = {std::string(geometric_mean_name), key.second, key.first};
    while (row.size() < summary.columns.size()) row.push_back(not_available);
    for (const char* name : ratio_names) {
      std::vector<double> values;
      for (const std::size_t r : rows_of[key]) values.push_back(summary.number(r, name));
      row[std::size_t(summary.column(name))] = geometric_mean(values);
    }
    summary.add(std::move(row));
  }
}

TableFormat table_format_from_string(const std::string& name) {
  if (name == "text") return TableFormat::text;
  if (name == "markdown") return TableFormat::markdown;
  if (name == "csv") return TableFormat::csv;
  throw Error("cannot print a table as '" + name + "'", "this format is not known", "use text, markdown or csv");
}

namespace {

constexpr std::size_t text_width = 120;
constexpr std::size_t gap = 2;  // between columns

/// A printed table: cells as text, columns of names on the left edge of their width, numbers on the right.
struct Sheet {
  std::string title;
  std::vector<std::string> headers;
  std::vector<std::vector<std::string>> rows;
  std::size_t names;  // so many leading columns hold names
  std::vector<std::string> notes;
};

std::string fixed(double value, int digits) {
  if (!std::isfinite(value)) return "-";
  char buffer[400];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

std::string percent(double fraction) { return fixed(100 * fraction, 2); }

std::string loss_cell(const Table& summary, std::size_t row) {
  if (!std::isfinite(summary.number(row, "loss"))) return "-";
  return percent(summary.number(row, "loss")) + " [" + percent(summary.number(row, "loss_low")) + ", " +
         percent(summary.number(row, "loss_high")) + "]";
}

/// N of a model: without decimals where it is a whole number.
std::string terms_cell(double terms) { return fixed(terms, terms == std::floor(terms) ? 0 : 2); }

/// First row of a model with an assignment, -1 if there is none.
int find_row(const Table& summary, const std::string& model, const std::string& assignment) {
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") == model && summary.text(row, "assignment") == assignment) return int(row);
  }
  return -1;
}

std::string skipped_reason(const Table& skipped, const std::string& model, const std::string& subject) {
  for (std::size_t row = 0; row < skipped.rows.size(); ++row) {
    if (skipped.text(row, "model") == model && skipped.text(row, "subject") == subject) {
      return skipped.text(row, "reason");
    }
  }
  return "it was not evaluated on the test split";
}

std::vector<std::string> summarized_models(const Table& summary) {
  std::vector<std::string> models;
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") != geometric_mean_name) add_once(models, summary.text(row, "model"));
  }
  return models;
}

Sheet accuracy_sheet(const Results& results) {
  const Table& summary = results.summary;
  Sheet sheet{"Top-1 accuracy on the test split [%]; loss against float, same images, with its 95 % interval",
              {"model", "float", "integer", "M-BC", "N", "loss", "L-BC", "mean N", "loss"},
              {},
              1,
              {}};
  for (const std::string& model : summarized_models(summary)) {
    const int any = find_row(summary, model, "integer"), m_bc = find_row(summary, model, "M-BC"),
              l_bc = find_row(summary, model, "L-BC");
    const auto number = [&](int row, const char* column) {
      return row < 0 ? not_available : summary.number(std::size_t(row), column);
    };
    const int first = std::max({any, m_bc, l_bc});
    const bool judged = std::isfinite(number(first, "float_top1")) || std::isfinite(number(any, "top1")) ||
                        std::isfinite(number(m_bc, "top1")) || std::isfinite(number(l_bc, "top1"));
    if (!judged) continue;  // emulation alone
    const auto loss = [&](int row) { return row < 0 ? std::string("-") : loss_cell(summary, std::size_t(row)); };
    sheet.rows.push_back({model, percent(number(first, "float_top1")), percent(number(any, "top1")),
                          percent(number(m_bc, "top1")), terms_cell(number(m_bc, "terms_mean")), loss(m_bc),
                          percent(number(l_bc, "top1")), fixed(number(l_bc, "terms_mean"), 2), loss(l_bc)});
    for (const char* assignment : {"M-BC", "L-BC"}) {
      const int row = assignment[0] == 'M' ? m_bc : l_bc;
      if (!std::isfinite(number(row, "top1"))) {
        sheet.notes.push_back(model + ", no " + assignment + ": " + skipped_reason(results.skipped, model, assignment));
      }
    }
  }
  return sheet;
}

Sheet emulation_sheet(const Table& summary) {
  Sheet sheet{"Emulation; speed and energy: how many times better BitCluster is, with M-BC and with L-BC",
              {"model", "accelerator", "weights", "cycles", "util. %", "energy uJ", "M speed", "M energy", "L speed",
               "L energy"},
              {},
              3,
              {}};
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") == geometric_mean_name || summary.text(row, "accelerator").empty()) continue;
    const auto number = [&](const char* column) { return summary.number(row, column); };
    sheet.rows.push_back({summary.text(row, "model"), summary.text(row, "accelerator"), summary.text(row, "assignment"),
                          fixed(number("cycles"), 0), fixed(100 * number("utilisation"), 1),
                          fixed(number("energy_pj") * 1e-6, 2), fixed(number("speedup_m_bc"), 2),
                          fixed(number("energy_ratio_m_bc"), 2), fixed(number("speedup_l_bc"), 2),
                          fixed(number("energy_ratio_l_bc"), 2)});
  }
  return sheet;
}

Sheet means_sheet(const Table& summary) {
  Sheet sheet{"Geometric means over the models: how many times better BitCluster is",
              {"against", "weights", "models", "M util.", "M speed", "M energy", "L util.", "L speed", "L energy"},
              {},
              2,
              {}};
  // A. Li et al., IEEE TCAD 41(11), 2022, doi 10.1109/tcad.2022.3146202: average over six CNNs
  const std::vector<std::string> claim = {"claim [TCAD'22]", "", "6", "", "", "", "1.60", "3.40", "5.00"};
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") != geometric_mean_name) continue;
    int models = 0;
    for (std::size_t other = 0; other < summary.rows.size(); ++other) {
      models += summary.text(other, "model") != geometric_mean_name &&
                summary.text(other, "accelerator") == summary.text(row, "accelerator") &&
                summary.text(other, "assignment") == summary.text(row, "assignment") &&
                (std::isfinite(summary.number(other, "speedup_m_bc")) ||
                 std::isfinite(summary.number(other, "speedup_l_bc")));
    }
    if (models == 0) continue;  // nothing to compare with, as in a trace
    std::vector<std::string> cells = {summary.text(row, "accelerator"), summary.text(row, "assignment"),
                                      std::to_string(models)};
    for (const char* name : {"utilisation_ratio_m_bc", "speedup_m_bc", "energy_ratio_m_bc", "utilisation_ratio_l_bc",
                             "speedup_l_bc", "energy_ratio_l_bc"}) {
      cells.push_back(fixed(summary.number(row, name), 2));
    }
    sheet.rows.push_back(std::move(cells));
  }
  if (!sheet.rows.empty()) {
    sheet.rows.push_back(claim);
    sheet.notes.push_back(
        "claim: A. Li et al., BitCluster, IEEE TCAD 41(11), 2022: average over six CNNs against the bit-serial "
        "accelerators of its time");
  }
  return sheet;
}

/// Breaks at spaces so that no line is wider than `width`; further lines are indented by two.
void print_wrapped(std::ostream& out, const std::string& text, std::size_t width) {
  std::istringstream words(text);
  std::string line, word;
  while (words >> word) {
    while (word.size() > width - 2) {  // no space to break at
      out << (line.empty() ? "" : line + "\n") << "  " << word.substr(0, width - 2) << "\n";
      line.clear();
      word.erase(0, width - 2);
      if (word.empty()) break;
    }
    if (!line.empty() && line.size() + 1 + word.size() > width) {
      out << line << "\n";
      line = " ";
    }
    line += (line.empty() ? "" : " ") + word;
  }
  if (!line.empty()) out << line << "\n";
}

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

void print_text(std::ostream& out, const Sheet& sheet) {
  constexpr std::size_t narrowest = 8;
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < sheet.headers.size(); ++c) {
    widths.push_back(columns_of(sheet.headers[c]));
    for (const auto& row : sheet.rows) widths[c] = std::max(widths[c], columns_of(row[c]));
  }
  const auto total = [&] {
    std::size_t sum = gap * (widths.size() - 1);
    for (const std::size_t width : widths) sum += width;
    return sum;
  };
  while (total() > text_width) {  // names give way, numbers never
    const auto widest = std::max_element(widths.begin(), widths.begin() + std::ptrdiff_t(sheet.names));
    if (*widest <= narrowest) break;
    --*widest;
  }
  const auto print_row = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t c = 0; c < cells.size(); ++c) {
      const std::string cell = c < sheet.names ? cut(cells[c], widths[c]) : cells[c];
      const std::string padding(widths[c] - std::min(widths[c], columns_of(cell)), ' ');
      line += (c == 0 ? "" : std::string(gap, ' ')) + (c < sheet.names ? cell + padding : padding + cell);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << "\n";
  };
  out << sheet.title << "\n";
  print_row(sheet.headers);
  out << std::string(std::min(total(), text_width), '-') << "\n";
  for (const auto& row : sheet.rows) print_row(row);
  for (const std::string& note : sheet.notes) print_wrapped(out, note, text_width);
  out << "\n";
}

void print_markdown(std::ostream& out, const Sheet& sheet) {
  const auto print_row = [&](const std::vector<std::string>& cells) {
    out << "|";
    for (const std::string& cell : cells) {
      std::string safe;
      for (const char byte : cell) {
        if (byte == '|') safe += '\\';
        safe += byte == '\n' ? ' ' : byte;
      }
      out << " " << safe << " |";
    }
    out << "\n";
  };
  out << "**" << sheet.title << "**\n\n";
  print_row(sheet.headers);
  out << "|";
  for (std::size_t c = 0; c < sheet.headers.size(); ++c) out << (c < sheet.names ? " :--- |" : " ---: |");
  out << "\n";
  for (const auto& row : sheet.rows) print_row(row);
  for (const std::string& note : sheet.notes) out << "\n" << note << "\n";
  out << "\n";
}

std::string csv_cell(const Value& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* number = std::get_if<double>(&value)) {
    if (std::isnan(*number)) return "";
    char buffer[64];
    return {buffer, std::to_chars(buffer, buffer + sizeof(buffer), *number).ptr};  // the shortest that reads back
  }
  const std::string& text = std::get<std::string>(value);
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted(1, '"');
  for (const char byte : text) quoted.append(byte == '"' ? 2 : 1, byte);
  quoted += '"';
  return quoted;
}

/// The table as RFC 4180 describes it; not available is an empty cell.
std::string to_csv(const Table& table) {
  std::string csv;
  for (std::size_t c = 0; c < table.columns.size(); ++c) csv.append(c > 0, ',').append(table.columns[c].name);
  csv += "\n";
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c) csv.append(c > 0, ',').append(csv_cell(row[c]));
    csv += "\n";
  }
  return csv;
}

}  // namespace

std::string format_summary(const Results& results, TableFormat format) {
  if (format == TableFormat::csv) return to_csv(results.summary);
  std::ostringstream out;
  for (const Sheet& sheet : {accuracy_sheet(results), emulation_sheet(results.summary), means_sheet(results.summary)}) {
    if (sheet.rows.empty()) continue;
    format == TableFormat::text ? print_text(out, sheet) : print_markdown(out, sheet);
  }
  const Table& skipped = results.skipped;
  if (skipped.rows.empty()) return out.str();
  Sheet sheet{"Skipped", {"model", "stage", "subject", "reason"}, {}, 4, {}};
  for (std::size_t row = 0; row < skipped.rows.size(); ++row) {
    sheet.rows.push_back({skipped.text(row, "model"), skipped.text(row, "stage"), skipped.text(row, "subject"),
                          skipped.text(row, "reason")});
  }
  if (format == TableFormat::markdown) {
    print_markdown(out, sheet);
  } else {
    out << sheet.title << "\n";
    for (const auto& row : sheet.rows) {
      print_wrapped(out, row[0] + ", " + row[1] + ", " + row[2] + ": " + row[3], text_width);
    }
  }
  return out.str();
}

}  // namespace bitcluster
