#pragma once

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "host/results/columns.hpp"

namespace bitcluster {

// The schema of results files: one struct per table, and beside its members the columns that they become, which
// for_each_column() hands to visit() in order. A new column is a member and a line of for_each_column(); a new table is
// also a member of Results and a line of for_each_table() (results.hpp).

/// A number that there is none for.
inline constexpr double not_available = std::numeric_limits<double>::quiet_NaN();

/// What is equal between the designs of one comparison: the column `basis`.
inline constexpr const char* throughput_basis = "throughput";
inline constexpr const char* area_basis = "area";

/// Name in the column `model` of /summary of the rows that hold the geometric means over the models.
inline constexpr const char* geometric_mean_name = "geometric mean";

/// What was being done when something could not run: the column `stage` of /skipped.
enum class Stage { import, calibration, search, evaluation, emulation };
inline constexpr std::array stage_names = {"import", "calibration", "search", "evaluation", "emulation"};
static_assert(stage_names.size() == std::size_t(Stage::emulation) + 1);
std::string to_string(Stage stage);
/// False for an unknown name.
bool from_string(const std::string& name, Stage& stage);

/// A file that the results depend on.
struct InputRow {
  static constexpr const char* table = "provenance/inputs";
  std::string kind, path;
  std::int64_t bytes = 0;
  std::string checksum;

  bool operator==(const InputRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = InputRow;
    visit(
        Column{&Row::kind, "kind", "none",
               "what it is: config, accelerator, technology, model, weights (of a model, in a file of their own), data "
               "(description), images (or labels), assignment or trace"});
    visit(Column{&Row::path, "path", "none", "as it was opened"});
    visit(Column{&Row::bytes, "bytes", "byte", "size"});
    visit(Column{&Row::checksum, "checksum", "none", "XXH3 of its bytes, 128 bits, as xxhsum -H128 prints it"});
  }
};

/// A layer with weights of a network.
struct LayerRow {
  static constexpr const char* table = "layers";
  std::string model, layer;
  std::int64_t index = 0;
  std::string kind;
  std::int64_t filters = 0, channels = 0, groups = 0;
  std::int64_t kernel_h = 0, kernel_w = 0, stride_h = 0, stride_w = 0, output_h = 0, output_w = 0;
  std::int64_t weights = 0, macs = 0;
  double binary_terms_mean = 0, signed_digit_terms_mean = 0;

  bool operator==(const LayerRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = LayerRow;
    visit(model_column<Row>());
    visit(layer_column<Row>());
    visit(Column{&Row::index, "index", "1", "position among the layers with weights, from 0"});
    visit(Column{&Row::kind, "kind", "none", "conv or fc (fully connected)"});
    visit(Column{&Row::filters, "filters", "1", "number of filters"});
    visit(Column{&Row::channels, "channels", "1", "input channels, all groups together"});
    visit(Column{&Row::groups, "groups", "1", "number of groups"});
    visit(Column{&Row::kernel_h, "kernel_h", "1", "kernel height"});
    visit(Column{&Row::kernel_w, "kernel_w", "1", "kernel width"});
    visit(Column{&Row::stride_h, "stride_h", "1", "vertical stride"});
    visit(Column{&Row::stride_w, "stride_w", "1", "horizontal stride"});
    visit(Column{&Row::output_h, "output_h", "1", "height of the output"});
    visit(Column{&Row::output_w, "output_w", "1", "width of the output"});
    visit(Column{&Row::weights, "weights", "1", "number of weights, without bias"});
    visit(Column{&Row::macs, "macs", "1", "multiply-accumulate operations for one image, padding included"});
    visit(Column{&Row::binary_terms_mean, "binary_terms_mean", "1",
                 "mean number of set bits of the plain 8-bit weights' magnitudes"});
    visit(Column{&Row::signed_digit_terms_mean, "signed_digit_terms_mean", "1",
                 "mean number of nonzero digits of the non-adjacent form of the plain 8-bit weights' magnitudes"});
  }
};

/// The integer network with one layer in another format.
struct SensitivityRow {
  static constexpr const char* table = "sensitivity";
  std::string model, layer, weights;
  std::int64_t bits = 0;
  std::string encoding, rounding;
  std::int64_t terms = 0;
  std::string split;
  std::int64_t images = 0;
  double top1 = 0, cross_entropy = 0, loss = 0, loss_low = 0, loss_high = 0;

  bool operator==(const SensitivityRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = SensitivityRow;
    visit(model_column<Row>());
    visit(Column{&Row::layer, "layer", "none", "name of the one layer that differs from the integer network"});
    visit(Column{&Row::weights, "weights", "none", "of that layer: bitcluster or bitpruner"});
    visit(bits_column<Row>());
    visit(encoding_column<Row>());
    visit(rounding_column<Row>());
    visit(terms_column<Row>());
    visit(split_column<Row>());
    visit(images_column<Row>());
    visit(top1_column<Row>());
    visit(cross_entropy_column<Row>());
    visit(loss_column<Row>());
    visit(loss_low_column<Row>());
    visit(loss_high_column<Row>());
  }
};

/// A network with weights of one kind on one split.
struct EvaluationRow {
  static constexpr const char* table = "evaluations";
  std::string model, assignment, weights, encoding, rounding;
  double terms_mean = 0, terms_per_product = 0;
  std::string split;
  std::int64_t images = 0;
  double top1 = 0, top5 = 0, cross_entropy = 0;
  double loss = not_available, loss_low = not_available, loss_high = not_available;
  double budget = not_available;
  std::int64_t within_budget = 0;
  double seconds = 0;

  bool operator==(const EvaluationRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = EvaluationRow;
    visit(model_column<Row>());
    visit(assignment_column<Row>());
    visit(Column{&Row::weights, "weights", "none",
                 "float, integer, bitcluster or bitpruner; assignment: by layer, as a file says"});
    visit(encoding_column<Row>());
    visit(rounding_column<Row>());
    visit(terms_mean_column<Row>());
    visit(terms_per_product_column<Row>());
    visit(split_column<Row>());
    visit(images_column<Row>());
    visit(top1_column<Row>());
    visit(Column{&Row::top5, "top5", "1", "fraction of images whose label is among the five highest logits"});
    visit(cross_entropy_column<Row>());
    visit(loss_column<Row>());
    visit(loss_low_column<Row>());
    visit(loss_high_column<Row>());
    visit(budget_column<Row>());
    visit(Column{&Row::within_budget, "within_budget", "1",
                 "1 if the search found the assignment within its budget: a row of search images, on these; else on "
                 "search and validation images"});
    visit(Column{&Row::seconds, "seconds", "s",
                 "wall time of the evaluation; of what ran at once, emulation included, an equal share"});
  }
};

/// The format of one layer in an assignment.
struct AssignmentRow {
  static constexpr const char* table = "assignments";
  std::string model, assignment, layer, preparation;
  std::int64_t bits = 0;
  std::string encoding, rounding;
  std::int64_t terms = 0, exact = 0;

  bool operator==(const AssignmentRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = AssignmentRow;
    visit(model_column<Row>());
    visit(assignment_column<Row>());
    visit(layer_column<Row>());
    visit(Column{&Row::preparation, "preparation", "none", "of its weights: bitcluster, bitpruner or integer"});
    visit(bits_column<Row>());
    visit(encoding_column<Row>());
    visit(rounding_column<Row>());
    visit(terms_column<Row>());
    visit(Column{&Row::exact, "exact", "1", "1: only magnitudes of exactly that many terms, and zero"});
  }
};

/// An assignment that no other one of a search beats in accuracy, cycles and energy together; what is within the budget
/// is beaten only by what is so, too.
struct FrontRow {
  static constexpr const char* table = "front";
  std::string model, assignment, weights;
  double terms_mean = 0, terms_per_product = 0;
  std::string split;
  std::int64_t images = 0;
  double top1 = 0, loss = 0, loss_low = 0, loss_high = 0;
  std::int64_t within_budget = 0;
  double cycles = 0, energy_pj = 0;

  bool operator==(const FrontRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = FrontRow;
    visit(model_column<Row>());
    visit(assignment_column<Row>());
    visit(Column{&Row::weights, "weights", "none", "bitcluster or bitpruner"});
    visit(terms_mean_column<Row>());
    visit(terms_per_product_column<Row>());
    visit(split_column<Row>());
    visit(images_column<Row>());
    visit(top1_column<Row>());
    visit(loss_column<Row>());
    visit(loss_low_column<Row>());
    visit(loss_high_column<Row>());
    visit(
        Column{&Row::within_budget, "within_budget", "1",
               "1 if the loss keeps within the search's budget, on validation images, too, if it was asked for there"});
    visit(Column{&Row::cycles, "cycles", "cycle",
                 "of all layers with weights for one image, on the design searched for"});
    visit(Column{&Row::energy_pj, "energy_pj", "pJ",
                 "of all layers with weights for one image, on the design searched for"});
  }
};

/// An accelerator as it takes part in the comparison on one basis.
struct AcceleratorRow {
  static constexpr const char* table = "accelerators";
  std::string basis, accelerator, design;
  std::int64_t lanes = 0, rows = 0, columns = 0, tiles = 0, slots_per_cycle = 0;
  double dense_products_per_cycle = 0, clock_ghz = 0;
  std::int64_t weight_buffer = 0, activation_buffer = 0;
  double off_chip_gbyte_per_s = 0, term_pj = 0, lane_um2 = 0, array_mm2 = 0, buffer_mm2 = 0;

  bool operator==(const AcceleratorRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = AcceleratorRow;
    visit(basis_column<Row>());
    visit(accelerator_column<Row>());
    visit(Column{&Row::design, "design", "none", "the design's rule, as in its description"});
    visit(Column{&Row::lanes, "lanes", "1", "products per processing element"});
    visit(Column{&Row::rows, "rows", "1", "filters per tile"});
    visit(Column{&Row::columns, "columns", "1", "output pixels"});
    visit(Column{&Row::tiles, "tiles", "1", "number of tiles"});
    visit(Column{&Row::slots_per_cycle, "slots_per_cycle", "1", "term operations that the array starts per cycle"});
    visit(Column{&Row::dense_products_per_cycle, "dense_products_per_cycle", "1",
                 "products of 8-bit operands per cycle when no bit is skipped"});
    visit(Column{&Row::clock_ghz, "clock_ghz", "GHz", "clock frequency"});
    visit(Column{&Row::weight_buffer, "weight_buffer", "byte", "buffer of weights"});
    visit(Column{&Row::activation_buffer, "activation_buffer", "byte", "buffer of activations"});
    visit(Column{&Row::off_chip_gbyte_per_s, "off_chip_gbyte_per_s", "GB/s", "bandwidth of off-chip memory"});
    visit(Column{&Row::term_pj, "term_pj", "pJ", "energy of one term operation"});
    visit(Column{&Row::lane_um2, "lane_um2", "um2", "area of one slot with its share of the accumulator"});
    visit(Column{&Row::array_mm2, "array_mm2", "mm2", "area of the array: slots_per_cycle x lane_um2"});
    visit(Column{&Row::buffer_mm2, "buffer_mm2", "mm2", "area of both buffers"});
  }
};

/// A layer with the weights of one assignment on an accelerator.
struct EmulationRow {
  static constexpr const char* table = "emulation";
  std::string model, assignment, basis, accelerator, layer;
  std::int64_t images = 0;
  std::int64_t cycles = 0, compute_cycles = 0, memory_cycles = 0;
  double utilisation = 0;
  std::int64_t slots = 0, useful = 0, zero_bits_known = 0;
  std::int64_t idle_edge = 0, idle_lane = 0, idle_row_column = 0, idle_null_term = 0, idle_memory = 0;
  double energy_pj = 0, energy_compute_pj = 0, energy_on_chip_pj = 0, energy_off_chip_pj = 0, energy_leakage_pj = 0;
  double weights_off_chip_bytes = 0, activations_off_chip_bytes = 0;
  double weights_on_chip_bytes = 0, activations_on_chip_bytes = 0;

  bool operator==(const EmulationRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = EmulationRow;
    visit(model_column<Row>());
    visit(assignment_column<Row>());
    visit(basis_column<Row>());
    visit(accelerator_column<Row>());
    visit(layer_column<Row>());
    visit(Column{&Row::images, "images", "1", "images that all counts of this row are summed over"});
    visit(Column{&Row::cycles, "cycles", "cycle", "time of the layer: the larger of compute_cycles and memory_cycles"});
    visit(Column{&Row::compute_cycles, "compute_cycles", "cycle", "time of the layer with data always there"});
    visit(Column{&Row::memory_cycles, "memory_cycles", "cycle", "time of the layer's off-chip transfer alone"});
    visit(Column{&Row::utilisation, "utilisation", "1", "useful / slots"});
    visit(Column{&Row::slots, "slots", "1",
                 "term slots: cycles x slots_per_cycle of /accelerators; useful + all idle columns"});
    visit(Column{&Row::useful, "useful", "1", "slots that worked on an effectual term"});
    visit(Column{&Row::zero_bits_known, "zero_bits_known", "1",
                 "0: Stripes ran without activations, all their bits counted as useful; else 1"});
    visit(Column{&Row::idle_edge, "idle_edge", "1", "slots of lanes, rows, columns or tiles without a value"});
    visit(
        Column{&Row::idle_lane, "idle_lane", "1", "slots that waited for another lane of the same processing element"});
    visit(Column{&Row::idle_row_column, "idle_row_column", "1", "slots that waited for another row, column or tile"});
    visit(Column{&Row::idle_null_term, "idle_null_term", "1", "slots spent on a term or bit that is zero"});
    visit(Column{&Row::idle_memory, "idle_memory", "1", "slots that waited for off-chip memory"});
    visit(Column{&Row::energy_pj, "energy_pj", "pJ", "energy of the layer, sum of the four parts"});
    visit(Column{&Row::energy_compute_pj, "energy_compute_pj", "pJ", "energy of the arithmetic"});
    visit(Column{&Row::energy_on_chip_pj, "energy_on_chip_pj", "pJ", "energy of on-chip buffers"});
    visit(Column{&Row::energy_off_chip_pj, "energy_off_chip_pj", "pJ", "energy of off-chip memory"});
    visit(Column{&Row::energy_leakage_pj, "energy_leakage_pj", "pJ", "leakage over the cycles"});
    visit(Column{&Row::weights_off_chip_bytes, "weights_off_chip_bytes", "byte",
                 "off-chip traffic of weights in the design's encoded format"});
    visit(Column{&Row::activations_off_chip_bytes, "activations_off_chip_bytes", "byte",
                 "off-chip traffic of activations"});
    visit(Column{&Row::weights_on_chip_bytes, "weights_on_chip_bytes", "byte",
                 "on-chip traffic of weights in the design's encoded format"});
    visit(
        Column{&Row::activations_on_chip_bytes, "activations_on_chip_bytes", "byte", "on-chip traffic of activations"});
  }
};

/// How many times better BitCluster is than the design of a row.
struct Advantage {
  double speedup = not_available, compute_speedup = not_available;
  double energy_ratio = not_available, utilisation_ratio = not_available;

  bool operator==(const Advantage&) const = default;
};

/// A model with one assignment on an accelerator, over all layers; or a geometric mean over the models.
struct SummaryRow {
  static constexpr const char* table = "summary";
  std::string model, basis, assignment, accelerator;
  double float_top1 = not_available, top1 = not_available;
  double loss = not_available, loss_low = not_available, loss_high = not_available;
  double terms_mean = not_available, terms_per_product = not_available;
  double budget = not_available;
  std::int64_t within_budget = 0;
  double cycles = not_available, compute_cycles = not_available, energy_pj = not_available;
  double utilisation = not_available, idle_edge = not_available, idle_lane = not_available;
  double idle_row_column = not_available, idle_null_term = not_available, idle_memory = not_available;
  Advantage m_bc = {}, l_bc = {};  //!< of BitCluster with M-BC and with L-BC

  bool operator==(const SummaryRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = SummaryRow;
    visit(Column{&Row::model, "model", "none",
                 "name of the network; 'geometric mean': over the models, of the ratios alone; shares are then of "
                 "the slots of all models together"});
    visit(Column{&Row::basis, "basis", "none", "as in /emulation; empty: accuracy without emulation"});
    visit(assignment_column<Row>());
    visit(
        Column{&Row::accelerator, "accelerator", "none", "name of the accelerator; empty: accuracy without emulation"});
    visit(Column{&Row::float_top1, "float_top1", "1", "top-1 accuracy of the float network on the test split"});
    visit(Column{&Row::top1, "top1", "1", "top-1 accuracy on the test split"});
    visit(loss_column<Row>());
    visit(loss_low_column<Row>());
    visit(loss_high_column<Row>());
    visit(terms_mean_column<Row>());
    visit(terms_per_product_column<Row>());
    visit(budget_column<Row>());
    visit(Column{&Row::within_budget, "within_budget", "1", "1 if the search found the assignment within its budget"});
    visit(Column{&Row::cycles, "cycles", "cycle", "cycles per image, summed over the layers"});
    visit(Column{&Row::compute_cycles, "compute_cycles", "cycle", "compute_cycles per image, summed over the layers"});
    visit(Column{&Row::energy_pj, "energy_pj", "pJ", "energy per image, summed over the layers"});
    visit(Column{&Row::utilisation, "utilisation", "1", "useful slots / slots, both summed over the layers"});
    visit(Column{&Row::idle_edge, "idle_edge", "1",
                 "share of the slots of lanes, rows, columns or tiles without a value"});
    visit(Column{&Row::idle_lane, "idle_lane", "1",
                 "share of the slots that waited for another lane of the same processing element"});
    visit(Column{&Row::idle_row_column, "idle_row_column", "1",
                 "share of the slots that waited for another row, column or tile"});
    visit(
        Column{&Row::idle_null_term, "idle_null_term", "1", "share of the slots spent on a term or bit that is zero"});
    visit(Column{&Row::idle_memory, "idle_memory", "1", "share of the slots that waited for off-chip memory"});
    advantage_columns(visit, &Row::m_bc, "_m_bc", "M-BC");
    advantage_columns(visit, &Row::l_bc, "_l_bc", "L-BC");
  }

 private:
  /// Where a row holds one value of one side.
  struct ValueOfSide {
    Advantage SummaryRow::*side;
    double Advantage::*value;

    template <class Row>
    auto& operator()(Row& row) const {
      return row.*side.*value;
    }
  };

  template <class Visit>
  static void advantage_columns(const Visit& visit, Advantage SummaryRow::*side, const char* suffix,
                                const char* assignment) {
    const auto ratio = [&](double Advantage::*value, const char* name, const char* what) {
      const std::string description = fmt::format(
          "{} of BitCluster with {} against this row's design on the same basis; NaN: not available", what, assignment);
      visit(Column{ValueOfSide{side, value}, fmt::format("{}{}", name, suffix), "1", description});
    };
    ratio(&Advantage::speedup, "speedup", "speed (inverse of the time, cycles / clock)");
    ratio(&Advantage::compute_speedup, "compute_speedup",
          "speed with data always there (inverse of compute_cycles / clock)");
    ratio(&Advantage::energy_ratio, "energy_ratio", "energy efficiency (inverse of energy)");
    ratio(&Advantage::utilisation_ratio, "utilisation_ratio", "utilisation");
  }
};

/// What could not run.
struct SkippedRow {
  static constexpr const char* table = "skipped";
  std::string model;
  Stage stage = Stage::import;
  std::string subject, reason;

  bool operator==(const SkippedRow&) const = default;

  template <class Visit>
  static void for_each_column(const Visit& visit) {
    using Row = SkippedRow;
    visit(model_column<Row>());
    visit(Column{&Row::stage, "stage", "none",
                 "what was being done: import, calibration, search, evaluation, emulation"});
    visit(Column{&Row::subject, "subject", "none", "what could not run: a layer, an assignment, an accelerator"});
    visit(Column{&Row::reason, "reason", "none", "why it could not run"});
  }
};

}  // namespace bitcluster
