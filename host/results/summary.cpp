#include "host/results/summary.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

constexpr double not_available = std::numeric_limits<double>::quiet_NaN();

constexpr const char* summed_columns[] = {"cycles", "compute_cycles", "energy_pj", "slots", "useful"};
constexpr const char* idle_columns[] = {"idle_edge", "idle_lane", "idle_row_column", "idle_null_term", "idle_memory"};

/// Sums over the layers of one model with one assignment on one accelerator, per image.
struct Totals {
  std::string model, basis, assignment, accelerator;
  std::map<std::string, double> sums = {};  // by column of /emulation

  double operator[](const std::string& column) const { return sums.at(column); }
  double share(const std::string& column) const {
    return sums.at("slots") > 0 ? sums.at(column) / sums.at("slots") : not_available;
  }
};

std::vector<Totals> total_emulation(const Table& emulation) {
  std::vector<Totals> totals;
  std::map<std::vector<std::string>, std::size_t> places;
  for (std::size_t row = 0; row < emulation.rows.size(); ++row) {
    const auto name = [&](const char* column) { return emulation.text(row, column); };
    const Totals names{name("model"), name("basis"), name("assignment"), name("accelerator")};
    const auto [place, is_new] =
        places.try_emplace({names.model, names.basis, names.assignment, names.accelerator}, totals.size());
    if (is_new) totals.push_back(names);
    const auto add = [&](const char* column) {
      totals[place->second].sums[column] += emulation.number(row, column) / emulation.number(row, "images");
    };
    for (const char* column : summed_columns) add(column);
    for (const char* column : idle_columns) add(column);
  }
  return totals;
}

void add_once(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

double ratio(double numerator, double denominator) {
  return denominator > 0 && numerator > 0 ? numerator / denominator : not_available;
}

/// How many times better BitCluster is than another design, by name of the ratio.
std::vector<std::pair<std::string, double>> advantages(const Totals& bitcluster, const Totals& other) {
  return {{"speedup", ratio(other["cycles"], bitcluster["cycles"])},
          {"compute_speedup", ratio(other["compute_cycles"], bitcluster["compute_cycles"])},
          {"energy_ratio", ratio(other["energy_pj"], bitcluster["energy_pj"])},
          {"utilisation_ratio", ratio(bitcluster.share("useful"), other.share("useful"))}};
}

/// Geometric means over models of what is available.
struct Mean {
  Totals all_models;
  std::map<std::string, std::pair<double, int>> logarithms = {};  // by name of the ratio: sum, count
};

/// Fills one row of /summary column by column; what is never set is not available.
class Row {
 public:
  Row(const Table& summary, const Totals& names) : summary_(summary), values_(summary.columns.size(), not_available) {
    set("model", names.model);
    set("basis", names.basis);
    set("assignment", names.assignment);
    set("accelerator", names.accelerator);
  }
  void set(const std::string& column, Value value) { values_[std::size_t(summary_.column(column))] = std::move(value); }
  void set_shares(const Totals& total) {
    set("utilisation", total.share("useful"));
    for (const char* column : idle_columns) set(column, total.share(column));
  }
  const std::vector<Value>& values() const { return values_; }

 private:
  const Table& summary_;
  std::vector<Value> values_;
};

}  // namespace

void summarize(Results& results, const std::string& test_split) {
  const Table& evaluations = results.evaluations;
  const std::vector<Totals> totals = total_emulation(results.emulation);
  Table& summary = results.summary;
  summary.rows.clear();

  std::vector<std::string> models, assignments;
  std::map<std::pair<std::string, std::string>, std::size_t> evaluated;  // (model, assignment): row, the last counts
  for (std::size_t row = 0; row < evaluations.rows.size(); ++row) {
    if (evaluations.text(row, "split") != test_split) continue;
    add_once(models, evaluations.text(row, "model"));
    add_once(assignments, evaluations.text(row, "assignment"));
    evaluated[{evaluations.text(row, "model"), evaluations.text(row, "assignment")}] = row;
  }
  for (const Totals& total : totals) add_once(models, total.model);

  const auto set_accuracy = [&](Row& row, const Totals& names) {
    const auto reference = evaluated.find({names.model, "float"}),
               own = evaluated.find({names.model, names.assignment});
    if (reference != evaluated.end()) row.set("float_top1", evaluations.number(reference->second, "top1"));
    if (own == evaluated.end()) return;
    for (const char* column : {"top1", "loss", "loss_low", "loss_high", "terms_mean"}) {
      row.set(column, evaluations.number(own->second, column));
    }
  };

  std::vector<Mean> means;  // in the order of the emulation
  const auto mean_of = [&](const Totals& total) -> Mean& {
    const auto found = std::find_if(means.begin(), means.end(), [&](const Mean& mean) {
      return mean.all_models.basis == total.basis && mean.all_models.assignment == total.assignment &&
             mean.all_models.accelerator == total.accelerator;
    });
    if (found != means.end()) return *found;
    return means.emplace_back(Mean{{geometric_mean_name, total.basis, total.assignment, total.accelerator}});
  };

  for (const std::string& model : models) {
    for (const Totals& total : totals) {
      if (total.model != model) continue;
      Mean& mean = mean_of(total);
      for (const auto& [column, sum] : total.sums) mean.all_models.sums[column] += sum;
      Row row(summary, total);
      set_accuracy(row, total);
      for (const char* column : {"cycles", "compute_cycles", "energy_pj"}) row.set(column, total[column]);
      row.set_shares(total);
      for (const auto& [assignment, suffix] : {std::pair{"M-BC", "_m_bc"}, std::pair{"L-BC", "_l_bc"}}) {
        const auto bitcluster = std::find_if(totals.begin(), totals.end(), [&](const Totals& other) {
          return other.model == model && other.basis == total.basis && other.assignment == assignment;
        });
        if (bitcluster == totals.end()) continue;
        for (const auto& [name, value] : advantages(*bitcluster, total)) {
          row.set(name + suffix, value);
          if (!std::isfinite(value)) continue;
          auto& [sum, count] = mean.logarithms[name + suffix];
          sum += std::log(value);
          ++count;
        }
      }
      summary.add(row.values());
    }
    for (const std::string& assignment : assignments) {
      const bool emulated = std::any_of(totals.begin(), totals.end(), [&](const Totals& total) {
        return total.model == model && total.assignment == assignment;
      });
      if (assignment == "float" || emulated || !evaluated.contains({model, assignment})) continue;
      const Totals names{model, "", assignment, ""};
      Row row(summary, names);
      set_accuracy(row, names);
      summary.add(row.values());
    }
  }

  for (const Mean& mean : means) {
    Row row(summary, mean.all_models);
    row.set_shares(mean.all_models);
    for (const auto& [name, logarithm] : mean.logarithms) row.set(name, std::exp(logarithm.first / logarithm.second));
    summary.add(row.values());
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

std::string percent(double fraction, int digits = 2) { return fixed(100 * fraction, digits); }

std::string loss_cell(const Table& summary, std::size_t row) {
  if (!std::isfinite(summary.number(row, "loss"))) return "-";
  return percent(summary.number(row, "loss")) + " [" + percent(summary.number(row, "loss_low")) + ", " +
         percent(summary.number(row, "loss_high")) + "]";
}

/// N of a model: without decimals where it is a whole number.
std::string terms_cell(double terms) { return fixed(terms, terms == std::floor(terms) ? 0 : 2); }

/// First row of a model with an assignment (any, if empty), -1 if there is none.
int find_row(const Table& summary, const std::string& model, const std::string& assignment = "") {
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") == model && (assignment.empty() || summary.text(row, "assignment") == assignment)) {
      return int(row);
    }
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

/// The different texts of a column, in order; those of the geometric means and empty ones left out.
std::vector<std::string> distinct(const Table& summary, const char* column) {
  std::vector<std::string> names;
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    const std::string& name = summary.text(row, column);
    if (summary.text(row, "model") != geometric_mean_name && !name.empty()) add_once(names, name);
  }
  return names;
}

Sheet accuracy_sheet(const Results& results) {
  const Table& summary = results.summary;
  Sheet sheet{"Top-1 accuracy on the test split [%]; loss against float, same images, with its 95 % interval",
              {"model", "float", "integer", "M-BC", "N", "loss", "L-BC", "mean N", "loss"},
              {},
              1,
              {}};
  for (const std::string& model : distinct(summary, "model")) {
    const int any = find_row(summary, model), integer = find_row(summary, model, "integer"),
              m_bc = find_row(summary, model, "M-BC"), l_bc = find_row(summary, model, "L-BC");
    const auto number = [&](int row, const char* column) {
      return row < 0 ? not_available : summary.number(std::size_t(row), column);
    };
    const bool judged = std::isfinite(number(any, "float_top1")) || std::isfinite(number(integer, "top1")) ||
                        std::isfinite(number(m_bc, "top1")) || std::isfinite(number(l_bc, "top1"));
    if (!judged) continue;  // emulation alone
    const auto loss = [&](int row) { return row < 0 ? std::string("-") : loss_cell(summary, std::size_t(row)); };
    sheet.rows.push_back({model, percent(number(any, "float_top1")), percent(number(integer, "top1")),
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

/// Accuracy of weights that the first sheet has no column for.
Sheet other_accuracy_sheet(const Table& summary) {
  Sheet sheet{"Top-1 accuracy of other weights on the test split [%]",
              {"model", "weights", "top-1", "mean N", "loss"},
              {},
              2,
              {}};
  for (const std::string& model : distinct(summary, "model")) {
    for (const std::string& assignment : distinct(summary, "assignment")) {
      const int found = find_row(summary, model, assignment);
      if (found < 0 || assignment == "integer" || assignment == "M-BC" || assignment == "L-BC") continue;
      const std::size_t row = std::size_t(found);
      if (!std::isfinite(summary.number(row, "top1"))) continue;  // emulation alone
      sheet.rows.push_back({model, assignment, percent(summary.number(row, "top1")),
                            fixed(summary.number(row, "terms_mean"), 2), loss_cell(summary, row)});
    }
  }
  return sheet;
}

Sheet emulation_sheet(const Results& results) {
  const Table& summary = results.summary;
  Sheet sheet{"Emulation of the arrays as described, per image; speed and energy: how many times better BitCluster is",
              {"model", "accelerator", "weights", "cycles", "util. %", "energy uJ", "M speed", "M energy", "L speed",
               "L energy"},
              {},
              3,
              {}};
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") == geometric_mean_name || summary.text(row, "basis") != throughput_basis) continue;
    const auto number = [&](const char* column) { return summary.number(row, column); };
    sheet.rows.push_back({summary.text(row, "model"), summary.text(row, "accelerator"), summary.text(row, "assignment"),
                          fixed(number("cycles"), 0), percent(number("utilisation"), 1),
                          fixed(number("energy_pj") * 1e-6, 2), fixed(number("speedup_m_bc"), 2),
                          fixed(number("energy_ratio_m_bc"), 2), fixed(number("speedup_l_bc"), 2),
                          fixed(number("energy_ratio_l_bc"), 2)});
  }
  std::vector<std::string> upper_bounds;
  for (std::size_t row = 0; row < results.emulation.rows.size(); ++row) {
    if (results.emulation.number(row, "zero_bits_known") == 0) {
      add_once(upper_bounds, results.emulation.text(row, "accelerator"));
    }
  }
  for (const std::string& accelerator : upper_bounds) {
    sheet.notes.push_back(accelerator +
                          " ran without activations: zero bits counted as useful, its utilisation is an upper bound");
  }
  return sheet;
}

// A. Li et al., IEEE TCAD 41(11), 2022, doi 10.1109/tcad.2022.3146202: average over six CNNs
constexpr const char *claimed_utilisation = "1.60", *claimed_speed = "3.40", *claimed_energy = "5.00";
constexpr const char* claim_name = "claim [TCAD'22]";
constexpr const char* claim_note =
    "claim: A. Li et al., BitCluster, IEEE TCAD 41(11), 2022: average over six CNNs against the bit-serial "
    "accelerators of its time";

/// Models that a row of geometric means compares.
int compared_models(const Table& summary, std::size_t mean) {
  int models = 0;
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    models +=
        summary.text(row, "model") != geometric_mean_name &&
        summary.text(row, "basis") == summary.text(mean, "basis") &&
        summary.text(row, "accelerator") == summary.text(mean, "accelerator") &&
        summary.text(row, "assignment") == summary.text(mean, "assignment") &&
        (std::isfinite(summary.number(row, "speedup_m_bc")) || std::isfinite(summary.number(row, "speedup_l_bc")));
  }
  return models;
}

/// The array of an accelerator, rows x columns, and its area [mm2].
std::pair<std::string, std::string> array_cells(const Table& accelerators, const std::string& basis,
                                                const std::string& name) {
  for (std::size_t row = 0; row < accelerators.rows.size(); ++row) {
    if (accelerators.text(row, "basis") != basis || accelerators.text(row, "accelerator") != name) continue;
    const auto number = [&](const char* column) { return std::to_string(long(accelerators.number(row, column))); };
    return {(number("tiles") == "1" ? "" : number("tiles") + " of ") + number("rows") + "x" + number("columns"),
            fixed(accelerators.number(row, "array_mm2"), 3)};
  }
  return {"-", "-"};
}

std::string what_is_equal(const std::string& basis) {
  return basis == throughput_basis ? "equal dense throughput" : "equal " + basis;
}

Sheet means_sheet(const Results& results, const std::string& basis) {
  const Table& summary = results.summary;
  Sheet sheet{"Geometric means over the models at " + what_is_equal(basis) + ": how many times better BitCluster is",
              {"against", "weights", "array", "mm2", "models", "M util.", "M speed", "M energy", "L util.", "L speed",
               "L energy"},
              {},
              2,
              {}};
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") != geometric_mean_name || summary.text(row, "basis") != basis) continue;
    const int models = compared_models(summary, row);
    if (models == 0) continue;  // nothing to compare with, as in a trace
    const std::string& accelerator = summary.text(row, "accelerator");
    const auto [array, area] = array_cells(results.accelerators, basis, accelerator);
    std::vector<std::string> cells = {accelerator, summary.text(row, "assignment"), array, area,
                                      std::to_string(models)};
    for (const char* name : {"utilisation_ratio_m_bc", "speedup_m_bc", "energy_ratio_m_bc", "utilisation_ratio_l_bc",
                             "speedup_l_bc", "energy_ratio_l_bc"}) {
      cells.push_back(fixed(summary.number(row, name), 2));
    }
    sheet.rows.push_back(std::move(cells));
  }
  if (sheet.rows.empty()) return sheet;
  sheet.rows.push_back({claim_name, "", "", "", "6", "", "", "", claimed_utilisation, claimed_speed, claimed_energy});
  sheet.notes = {claim_note,
                 std::string("array: rows x columns, mm2: its area without buffers; ") +
                     (basis == area_basis ? "each array resized to the area of BitCluster's; buffers, "
                                            "clock and bandwidth the same"
                                          : "each array as described, assumed to give equal dense throughput")};
  return sheet;
}

/// Why the claim comes out or not: what memory takes of the speed, and what the other designs lose anyway.
Sheet claim_sheet(const Table& summary) {
  Sheet sheet{
      "Claim: how many times better L-BC is at " + what_is_equal(throughput_basis) +
          ", and the slots of the other design [%]",
      {"against", "weights", "speed", "compute", "energy", "useful", "edge", "lane", "row/col.", "null term", "memory"},
      {},
      2,
      {}};
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    const auto number = [&](const char* column) { return summary.number(row, column); };
    if (summary.text(row, "model") != geometric_mean_name || summary.text(row, "basis") != throughput_basis) continue;
    if (!std::isfinite(number("speedup_l_bc"))) continue;
    std::vector<std::string> cells = {summary.text(row, "accelerator"),      summary.text(row, "assignment"),
                                      fixed(number("speedup_l_bc"), 2),      fixed(number("compute_speedup_l_bc"), 2),
                                      fixed(number("energy_ratio_l_bc"), 2), percent(number("utilisation"), 1)};
    for (const char* column : idle_columns) cells.push_back(percent(number(column), 1));
    sheet.rows.push_back(std::move(cells));
  }
  if (sheet.rows.empty()) return sheet;
  sheet.rows.push_back({claim_name, "", claimed_speed, "", claimed_energy, "", "", "", "", "", ""});
  sheet.notes = {
      "compute: speed if memory never made a design wait. Slots of the other design, all models together: useful; "
      "edge, "
      "without a value; lane, waiting for another lane; row/col., waiting for another row or column; null term, spent "
      "on a zero; memory, waiting for it"};
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
  std::vector<Sheet> sheets = {accuracy_sheet(results), other_accuracy_sheet(results.summary),
                               emulation_sheet(results)};
  for (const std::string& basis : distinct(results.summary, "basis")) sheets.push_back(means_sheet(results, basis));
  sheets.push_back(claim_sheet(results.summary));
  for (const Sheet& sheet : sheets) {
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
