#include "host/results/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "host/base/error.hpp"
#include "host/results/text_table.hpp"

namespace bitcluster {
namespace {

using Summary = std::vector<SummaryRow>;

// Marks of assignments that a search was to keep within a budget.
constexpr const char* not_within_mark = "~";
constexpr const char* beyond_mark = "!";

/// Whether an assignment is only what came nearest to the budget of its search.
bool is_not_within(const SummaryRow& row) { return std::isfinite(row.budget) && row.within_budget == 0; }

/// Whether the test images show that an assignment loses more than the budget of its search.
bool is_beyond(const SummaryRow& row) { return std::isfinite(row.budget) && row.loss_low > row.budget; }

/// Marks, if any, and a space behind them.
std::string marks(const SummaryRow& row) {
  const std::string both = std::string(is_not_within(row) ? not_within_mark : "") + (is_beyond(row) ? beyond_mark : "");
  return both.empty() ? both : both + " ";
}

/// What the marks of some rows mean.
void explain_marks(const Summary& rows, std::vector<std::string>& notes) {
  if (std::ranges::any_of(rows, is_not_within)) {
    notes.push_back(
        fmt::format("{}: the search found nothing within its budget; this comes nearest to it", not_within_mark));
  }
  if (std::ranges::any_of(rows, is_beyond)) {
    notes.push_back(fmt::format("{}: the whole interval lies above the budget of the search", beyond_mark));
  }
}

std::string loss_cell(const SummaryRow& row) {
  if (!std::isfinite(row.loss)) return "-";
  return fmt::format("{}{} [{}, {}]", marks(row), percent(row.loss), percent(row.loss_low), percent(row.loss_high));
}

/// N of every layer of an assignment in a short row: "1x12 2 1s", equal ones in a row counted, s for signed digits.
std::string terms_by_layer(const Results& results, const std::string& model, const std::string& assignment) {
  std::vector<std::pair<std::string, int>> runs;
  bool several_bits = false;
  std::int64_t bits = 0;
  for (const AssignmentRow& row : results.assignments) {
    if (row.model != model || row.assignment != assignment) continue;
    several_bits = several_bits || (bits > 0 && bits != row.bits);
    bits = row.bits;
  }
  for (const AssignmentRow& row : results.assignments) {
    if (row.model != model || row.assignment != assignment) continue;
    std::string layer = fmt::format("{}{}", row.terms, row.encoding == "signed_digit" ? "s" : "");
    if (several_bits) layer += fmt::format("/{}", row.bits);
    if (runs.empty() || runs.back().first != layer) runs.emplace_back(layer, 0);
    ++runs.back().second;
  }
  std::vector<std::string> texts;
  for (const auto& [layer, count] : runs) texts.push_back(count == 1 ? layer : fmt::format("{}x{}", layer, count));
  return fmt::format("{}", fmt::join(texts, " "));
}

/// N of a model: without decimals where it is a whole number.
std::string terms_cell(double terms) { return fixed(terms, terms == std::floor(terms) ? 0 : 2); }

/// First row of a model with an assignment (any, if empty); an empty row if there is none.
SummaryRow find_row(const Summary& summary, const std::string& model, const std::string& assignment = "") {
  const auto found = std::find_if(summary.begin(), summary.end(), [&](const SummaryRow& row) {
    return row.model == model && (assignment.empty() || row.assignment == assignment);
  });
  return found == summary.end() ? SummaryRow() : *found;
}

std::string skipped_reason(const Results& results, const std::string& model, const std::string& subject) {
  for (const SkippedRow& row : results.skipped) {
    if (row.model == model && row.subject == subject) return row.reason;
  }
  return "it was not evaluated on the test split";
}

/// The different texts of a column, in order; those of the geometric means and empty ones left out.
std::vector<std::string> distinct(const Summary& summary, std::string SummaryRow::*column) {
  std::vector<std::string> names;
  for (const SummaryRow& row : summary) {
    const std::string& name = row.*column;
    if (row.model == geometric_mean_name || name.empty()) continue;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

TextTable accuracy_table(const Results& results) {
  const Summary& summary = results.summary;
  TextTable table{"Top-1 accuracy on the test split [%]; loss against float, same images, with its 95 % interval",
                  {"model", "float", "integer", "M-BC", "N", "loss", "L-BC", "N weight", "N product", "loss"},
                  1};
  Summary shown;
  std::vector<std::string> layers;  // N of each, by model
  for (const std::string& model : distinct(summary, &SummaryRow::model)) {
    const SummaryRow any = find_row(summary, model), integer = find_row(summary, model, "integer"),
                     m_bc = find_row(summary, model, "M-BC"), l_bc = find_row(summary, model, "L-BC");
    const bool judged = std::isfinite(any.float_top1) || std::isfinite(integer.top1) || std::isfinite(m_bc.top1) ||
                        std::isfinite(l_bc.top1);
    if (!judged) continue;  // emulation alone
    table.rows.push_back({model, percent(any.float_top1), percent(integer.top1), percent(m_bc.top1),
                          terms_cell(m_bc.terms_mean), loss_cell(m_bc), percent(l_bc.top1), fixed(l_bc.terms_mean, 2),
                          fixed(l_bc.terms_per_product, 2), loss_cell(l_bc)});
    shown.insert(shown.end(), {m_bc, l_bc});
    const std::string by_layer = terms_by_layer(results, model, "L-BC");
    if (!by_layer.empty()) layers.push_back(fmt::format("{}: {}", model, by_layer));
    for (const auto& [assignment, row] : {std::pair("M-BC", &m_bc), std::pair("L-BC", &l_bc)}) {
      if (std::isfinite(row->top1)) continue;
      table.notes.push_back(
          fmt::format("{}, no {}: {}", model, assignment, skipped_reason(results, model, assignment)));
    }
  }
  explain_marks(shown, table.notes);
  if (!layers.empty()) {
    table.notes.push_back("N of L-BC's layers in order (1x3: three with N = 1; s: signed digits; /6: 6 bits). " +
                          fmt::format("{}", fmt::join(layers, "; ")));
  }
  return table;
}

/// Accuracy of weights that the first table has no column for.
TextTable other_accuracy_table(const Summary& summary) {
  TextTable table{"Top-1 accuracy of other weights on the test split [%]",
                  {"model", "weights", "top-1", "N weight", "N product", "loss"},
                  2};
  Summary shown;
  for (const std::string& model : distinct(summary, &SummaryRow::model)) {
    for (const std::string& assignment : distinct(summary, &SummaryRow::assignment)) {
      if (assignment == "integer" || assignment == "M-BC" || assignment == "L-BC") continue;
      const SummaryRow row = find_row(summary, model, assignment);
      if (!std::isfinite(row.top1)) continue;  // emulation alone, or nothing
      table.rows.push_back({model, assignment, percent(row.top1), fixed(row.terms_mean, 2),
                            fixed(row.terms_per_product, 2), loss_cell(row)});
      shown.push_back(row);
    }
  }
  explain_marks(shown, table.notes);
  return table;
}

TextTable emulation_table(const Results& results) {
  TextTable table{
      "Emulation of the arrays as described, per image; speed and energy: how many times better BitCluster is",
      {"model", "accelerator", "weights", "cycles", "util. %", "energy uJ", "M speed", "M energy", "L speed",
       "L energy"},
      3};
  for (const SummaryRow& row : results.summary) {
    if (row.model == geometric_mean_name || row.basis != throughput_basis) continue;
    table.rows.push_back({row.model, row.accelerator, marks(row) + row.assignment, fixed(row.cycles, 0),
                          percent(row.utilisation, 1), fixed(row.energy_pj * 1e-6, 2), fixed(row.m_bc.speedup, 2),
                          fixed(row.m_bc.energy_ratio, 2), fixed(row.l_bc.speedup, 2),
                          fixed(row.l_bc.energy_ratio, 2)});
  }
  explain_marks(results.summary, table.notes);
  std::vector<std::string> upper_bounds;
  for (const EmulationRow& row : results.emulation) {
    if (row.zero_bits_known != 0) continue;
    if (std::find(upper_bounds.begin(), upper_bounds.end(), row.accelerator) != upper_bounds.end()) continue;
    upper_bounds.push_back(row.accelerator);
    table.notes.push_back(row.accelerator +
                          " ran without activations: zero bits counted as useful, its utilisation is an upper bound");
  }
  return table;
}

// A. Li et al., IEEE TCAD 41(11), 2022, doi 10.1109/tcad.2022.3146202: average over six CNNs
constexpr const char *claimed_utilisation = "1.60", *claimed_speed = "3.40", *claimed_energy = "5.00";
constexpr const char* claim_name = "claim [TCAD'22]";
constexpr const char* claim_note =
    "claim: A. Li et al., BitCluster, IEEE TCAD 41(11), 2022: average over six CNNs against the bit-serial "
    "accelerators of its time";

/// Models that a row of geometric means compares.
int compared_models(const Summary& summary, const SummaryRow& mean) {
  return int(std::count_if(summary.begin(), summary.end(), [&](const SummaryRow& row) {
    return row.model != geometric_mean_name && row.basis == mean.basis && row.accelerator == mean.accelerator &&
           row.assignment == mean.assignment && (std::isfinite(row.m_bc.speedup) || std::isfinite(row.l_bc.speedup));
  }));
}

/// The accelerator that a row of the summary is of; an empty row if there is none.
AcceleratorRow accelerator_of(const Results& results, const SummaryRow& of) {
  const auto found = std::ranges::find_if(results.accelerators, [&](const AcceleratorRow& row) {
    return row.basis == of.basis && row.accelerator == of.accelerator;
  });
  return found == results.accelerators.end() ? AcceleratorRow() : *found;
}

/// 8-bit products per ns when no bit is skipped.
double dense_throughput(const AcceleratorRow& row) { return row.dense_products_per_cycle * row.clock_ghz; }

/// Of the accelerator that runs BitCluster's weights.
double compared_throughput(const Results& results, const std::string& basis) {
  for (const SummaryRow& row : results.summary) {
    if (row.basis != basis || (row.assignment != "L-BC" && row.assignment != "M-BC")) continue;
    return dense_throughput(accelerator_of(results, row));
  }
  return 0;
}

std::string what_is_equal(const std::string& basis) {
  return basis == throughput_basis ? "equal dense throughput" : "equal " + basis;
}

TextTable means_table(const Results& results, const std::string& basis) {
  const double expected = compared_throughput(results, basis);
  std::vector<std::string> unequal;
  TextTable table{
      fmt::format("Geometric means over the models at {}: how many times better BitCluster is", what_is_equal(basis)),
      {"against", "weights", "array", "mm2", "models", "M util.", "M speed", "M energy", "L util.", "L speed",
       "L energy"},
      2};
  for (const SummaryRow& row : results.summary) {
    if (row.model != geometric_mean_name || row.basis != basis) continue;
    const int models = compared_models(results.summary, row);
    if (models == 0) continue;  // nothing to compare with, as in a trace
    const AcceleratorRow of = accelerator_of(results, row);
    const bool is_unequal = basis == throughput_basis && std::abs(dense_throughput(of) / expected - 1) > 1e-9;
    if (is_unequal) unequal.push_back(fmt::format("{} {:g}", row.accelerator, dense_throughput(of)));
    std::vector<std::string> cells = {row.accelerator + (is_unequal ? " *" : ""), row.assignment,
                                      fmt::format("{}x{}x{}x{}", of.lanes, of.rows, of.columns, of.tiles),
                                      fixed(of.array_mm2, 3), fmt::to_string(models)};
    for (const Advantage& side : {row.m_bc, row.l_bc}) {
      for (const double value : {side.utilisation_ratio, side.speedup, side.energy_ratio}) {
        cells.push_back(fixed(value, 2));
      }
    }
    table.rows.push_back(std::move(cells));
  }
  if (table.rows.empty()) return table;
  table.rows.push_back({claim_name, "", "", "", "6", "", "", "", claimed_utilisation, claimed_speed, claimed_energy});
  const std::string about =
      basis == area_basis ? "each array resized to the area of BitCluster's; buffers, clock and bandwidth as described"
                          : fmt::format(
                                "each array as described; BitCluster's gives {:g} 8-bit products per ns when "
                                "no bit is skipped, and so do all without a *",
                                expected);
  table.notes = {claim_note, "array: lanes x rows x columns x tiles, mm2: its area without buffers; " + about};
  std::set<std::string> doubtful;  // models whose assignment is marked
  for (const SummaryRow& row : results.summary) {
    if (row.basis == basis && !marks(row).empty()) doubtful.insert(fmt::format("{} {}", row.model, row.assignment));
  }
  if (!doubtful.empty()) {
    table.notes.push_back(
        fmt::format("the means include assignments that are marked above: {}", fmt::join(doubtful, ", ")));
  }
  if (!unequal.empty()) {
    table.notes.push_back(fmt::format("*: another dense throughput [8-bit products per ns], so no equal comparison: {}",
                                      fmt::join(unequal, ", ")));
  }
  return table;
}

/// Why the claim comes out or not: what memory takes of the speed, and what the other designs lose anyway.
TextTable claim_table(const Summary& summary) {
  TextTable table{
      fmt::format("Claim: how many times better L-BC is at {}, and the slots of the other design [%]",
                  what_is_equal(throughput_basis)),
      {"against", "weights", "speed", "compute", "energy", "useful", "edge", "lane", "row/col.", "null term", "memory"},
      2};
  for (const SummaryRow& row : summary) {
    if (row.model != geometric_mean_name || row.basis != throughput_basis) continue;
    if (!std::isfinite(row.l_bc.speedup)) continue;
    std::vector<std::string> cells = {row.accelerator, row.assignment, fixed(row.l_bc.speedup, 2),
                                      fixed(row.l_bc.compute_speedup, 2), fixed(row.l_bc.energy_ratio, 2)};
    for (const double share :
         {row.utilisation, row.idle_edge, row.idle_lane, row.idle_row_column, row.idle_null_term, row.idle_memory}) {
      cells.push_back(percent(share, 1));
    }
    table.rows.push_back(std::move(cells));
  }
  if (table.rows.empty()) return table;
  table.rows.push_back({claim_name, "", claimed_speed, "", claimed_energy, "", "", "", "", "", ""});
  table.notes = {
      "compute: speed if memory never made a design wait. Slots of the other design, all models together: useful; "
      "edge, without a value; lane, waiting for another lane; row/col., waiting for another row or column; null term, "
      "spent on a zero; memory, waiting for it"};
  return table;
}

TextTable evaluations_table(const std::vector<EvaluationRow>& evaluations) {
  TextTable table{"Evaluations [%], cross entropy [nat]",
                  {"model", "weights", "split", "images", "terms", "encoding", "top-1", "top-5", "cross entropy"},
                  3};
  for (const EvaluationRow& row : evaluations) {
    table.rows.push_back({row.model, row.assignment, row.split, fmt::to_string(row.images), fixed(row.terms_mean, 3),
                          row.encoding, percent(row.top1), percent(row.top5), fixed(row.cross_entropy, 4)});
  }
  return table;
}

TextTable layers_table(const std::vector<LayerRow>& layers) {
  TextTable table{"Layers with weights",
                  {"layer", "kind", "filters", "kernel", "groups", "output", "weights", "MAC", "binary terms"},
                  2};
  for (const LayerRow& row : layers) {
    table.rows.push_back({row.layer, row.kind, fmt::format("{} -> {}", row.channels, row.filters),
                          fmt::format("{}x{}", row.kernel_h, row.kernel_w), fmt::to_string(row.groups),
                          fmt::format("{}x{}", row.output_h, row.output_w), fmt::to_string(row.weights),
                          fmt::to_string(row.macs), fixed(row.binary_terms_mean, 3)});
  }
  return table;
}

std::string skipped_text(const std::vector<SkippedRow>& skipped, TableFormat format) {
  TextTable table{"Skipped", {"model", "stage", "subject", "reason"}, 4};
  std::string text = table.title + "\n";
  for (const SkippedRow& row : skipped) {
    const std::string stage = to_string(row.stage);
    table.rows.push_back({row.model, stage, row.subject, row.reason});
    text += wrapped(fmt::format("{}, {}, {}: {}", row.model, stage, row.subject, row.reason));
  }
  return format == TableFormat::markdown ? to_markdown(table) : text;
}

/// A whole table as RFC 4180 describes it.
template <class Row>
std::string to_csv(const std::vector<Row>& rows) {
  std::vector<std::string> cells;
  Row::for_each_column([&](const auto& column) { cells.emplace_back(column.name); });
  std::string csv = fmt::format("{}\n", fmt::join(cells, ","));
  for (const Row& row : rows) {
    cells.clear();
    Row::for_each_column([&](const auto& column) { cells.push_back(csv_cell(column.of(row))); });
    csv += fmt::format("{}\n", fmt::join(cells, ","));
  }
  return csv;
}

}  // namespace

TableFormat table_format_from_string(const std::string& name) {
  if (name == "text") return TableFormat::text;
  if (name == "markdown") return TableFormat::markdown;
  if (name == "csv") return TableFormat::csv;
  throw Error("cannot print a table as '" + name + "'", "this format is not known", "use text, markdown or csv");
}

std::string format_layers(const Results& results, const std::string& model, const std::string& assignment,
                          TableFormat format) {
  TextTable table{fmt::format("Layers of {}, {}", model, assignment),
                  {"layer", "preparation", "bits", "encoding", "terms", "rounding", "exact"},
                  2};
  std::set<std::string> known;
  for (const AssignmentRow& row : results.assignments) {
    known.insert(fmt::format("{} of {}", row.assignment, row.model));
    if (row.model != model || row.assignment != assignment) continue;
    table.rows.push_back({row.layer, row.preparation, fmt::to_string(row.bits), row.encoding, fmt::to_string(row.terms),
                          row.rounding, fmt::to_string(row.exact)});
  }
  if (table.rows.empty()) {
    throw Error(fmt::format("cannot print the layers of '{}', assignment '{}'", model, assignment),
                "the results do not have it",
                known.empty() ? "give results of run, search or emulate"
                              : fmt::format("use one of: {}", fmt::join(known, ", ")));
  }
  if (format != TableFormat::csv) return format == TableFormat::text ? to_text(table) : to_markdown(table);
  std::string csv = fmt::format("{}\n", fmt::join(table.headers, ","));
  for (std::vector<std::string>& row : table.rows) {
    for (std::string& cell : row) cell = csv_cell(cell);
    csv += fmt::format("{}\n", fmt::join(row, ","));
  }
  return csv;
}

std::string format_summary(const Results& results, TableFormat format) {
  const bool has_summary = !results.summary.empty();
  const bool has_evaluations = !has_summary && !results.evaluations.empty();  // of `evaluate`
  const bool has_layers = !has_summary && !has_evaluations;                   // of `inspect`
  if (format == TableFormat::csv) {
    return has_summary       ? to_csv(results.summary)
           : has_evaluations ? to_csv(results.evaluations)
                             : to_csv(results.layers);
  }
  std::vector<TextTable> tables = {accuracy_table(results), other_accuracy_table(results.summary),
                                   emulation_table(results)};
  if (has_evaluations) tables.push_back(evaluations_table(results.evaluations));
  if (has_layers) tables.push_back(layers_table(results.layers));
  for (const std::string& basis : distinct(results.summary, &SummaryRow::basis)) {
    tables.push_back(means_table(results, basis));
  }
  tables.push_back(claim_table(results.summary));
  std::string text;
  for (const TextTable& table : tables) {
    if (!table.rows.empty()) text += format == TableFormat::text ? to_text(table) : to_markdown(table);
  }
  return results.skipped.empty() ? text : text + skipped_text(results.skipped, format);
}

}  // namespace bitcluster
