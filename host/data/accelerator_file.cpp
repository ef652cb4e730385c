#include "host/data/accelerator_file.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "host/base/error.hpp"
#include "host/files/toml.hpp"

namespace bitcluster {
namespace {

template <class T>
T choose(TomlTable& table, const std::string& key, const std::map<std::string, T>& names) {
  std::vector<std::string> choices;
  for (const auto& [name, value] : names) choices.push_back(name);
  return names.at(table.choice(key, choices));
}

constexpr double largest = 1e12;

int integer(TomlTable& table, const std::string& key, Range range) {
  return int(table.integer(key, range.low, range.high));
}

/// The keys of one design. A key that the design has no use for stays unread, so finish() rejects it.
void read_design(TomlTable& file, Accelerator& accelerator) {
  const Design design = accelerator.design;
  const auto is_one_of = [&](const std::set<Design>& designs) { return designs.contains(design); };
  if (is_one_of({Design::pragmatic, Design::pragmatic_weights, Design::laconic, Design::tactical_e})) {
    accelerator.encoding = choose<Encoding>(file, "encoding",
                                            {{"binary", Encoding::binary},
                                             {"signed_digit", Encoding::signed_digit},
                                             {"booth_dnnsim", Encoding::booth_dnnsim}});
  }
  if (design == Design::bitcluster) {
    accelerator.encoding =
        choose<Encoding>(file, "encoding", {{"binary", Encoding::binary}, {"signed_digit", Encoding::signed_digit}});
  }
  if (is_one_of({Design::pragmatic, Design::pragmatic_weights, Design::tactical_e})) {
    accelerator.first_stage_shift = integer(file, "first_stage_shift", of_shift);
  }
  if (is_one_of({Design::dynamic_stripes, Design::pragmatic, Design::tactical_p, Design::tactical_e})) {
    accelerator.column_registers = integer(file, "column_registers", of_registers);
  }
  if (design == Design::stripes) accelerator.precision = int(file.integer("precision", of_bits.low, of_bits.high, 0));
  if (design == Design::loom) {
    accelerator.bits_per_cycle = integer(file, "bits_per_cycle", of_bits);
    accelerator.weight_bits = int(file.integer("weight_bits", of_bits.low, of_bits.high, 0));
  }
  if (design == Design::bitlet) accelerator.significances = integer(file, "significances", of_bits);
  if (is_one_of({Design::tactical_p, Design::tactical_e})) {
    accelerator.search_shape =
        choose<SearchShape>(file, "search_shape", {{"T", SearchShape::t}, {"L", SearchShape::l}});
    accelerator.lookahead = integer(file, "lookahead", of_lookahead);
    accelerator.lookaside = integer(file, "lookaside", of_lookaside);
  }
}

}  // namespace

Accelerator load_accelerator(const std::string& path) {
  TomlTable file = TomlTable::load(path);
  Accelerator accelerator;
  accelerator.name = file.text("name");
  if (accelerator.name.empty()) file.reject("name", "the name is empty", "give the name that tables print");
  accelerator.design = choose(file, "design", design_names());
  read_design(file, accelerator);
  if (file.has("peer")) {
    accelerator.peer = choose<Peer>(file, "peer", {{"dnnsim", Peer::dnnsim}, {"bitsim", Peer::bitsim}});
  }
  accelerator.clock_ghz = file.number("clock_ghz", 1e-3, 100);

  TomlTable array = file.table("array");
  accelerator.lanes = integer(array, "lanes", of_lanes(accelerator.design));
  accelerator.rows = integer(array, "rows", of_array);
  accelerator.columns = integer(array, "columns", of_array);
  accelerator.tiles = integer(array, "tiles", of_array);
  accelerator.fc_columns = choose<FullyConnectedColumns>(
      array, "fc_columns", {{"rotate", FullyConnectedColumns::rotate}, {"single", FullyConnectedColumns::single}});
  array.finish();

  TomlTable memory = file.table("memory");
  accelerator.weight_buffer = memory.integer("weight_buffer_kib", 1, 1 << 24) * 1024;
  accelerator.activation_buffer = memory.integer("activation_buffer_kib", 1, 1 << 24) * 1024;
  accelerator.off_chip_gbyte_per_s = memory.number("off_chip_gbyte_per_s", 1e-3, 1e6);
  memory.finish();

  TomlTable energy = file.table("energy");
  accelerator.term_energy = energy.number("term_pj", 0, largest);
  accelerator.leakage_energy = energy.number("leakage_pj_per_cycle", 0, largest);
  energy.finish();

  TomlTable area = file.table("area");
  accelerator.lane_area = area.number("lane_um2", 0, largest);
  area.finish();

  // What designs in one technology share.
  TomlTable technology = TomlTable::load(file.resolve(file.text("technology")));
  technology.text("name");
  TomlTable memory_energy = technology.table("energy");
  accelerator.on_chip_energy = memory_energy.number("on_chip_pj_per_byte", 0, largest);
  accelerator.off_chip_energy = memory_energy.number("off_chip_pj_per_byte", 0, largest);
  memory_energy.finish();
  TomlTable memory_area = technology.table("area");
  accelerator.buffer_area = memory_area.number("buffer_um2_per_byte", 0, largest);
  memory_area.finish();
  technology.finish();

  file.finish();
  if (const auto fault = fault_of(accelerator)) file.reject(fault->key, fault->why, fault->what_to_do);
  return accelerator;
}

std::vector<Accelerator> load_accelerators(const std::vector<std::string>& paths) {
  std::vector<Accelerator> accelerators;
  std::set<std::string> names;
  for (const std::string& path : paths) {
    accelerators.push_back(load_accelerator(path));
    if (!names.insert(accelerators.back().name).second) {
      throw Error("'" + path + "': name", "another accelerator is named '" + accelerators.back().name + "', too",
                  "give every accelerator its own name");
    }
  }
  return accelerators;
}

Accelerator fit_area(const Accelerator& accelerator, double array_mm2) {
  Accelerator fitted = accelerator;
  constexpr int fewest_rows = 8;
  const auto row_mm2 = [&] {
    Accelerator row = fitted;
    row.rows = 1;
    return row.array_mm2();
  };
  while (fitted.columns > 1 && fewest_rows * row_mm2() > array_mm2) fitted.columns /= 2;
  if (!(row_mm2() > 0)) {
    throw Error(accelerator.name + " cannot be compared at equal area", "its array has no area",
                "give lane_um2 in its TOML file, or set equal_area = false in [emulation]");
  }
  // one part in 10^9 for rounding, so that an array fits its own area
  fitted.rows = int(std::min(double(of_array.high), std::floor(array_mm2 / row_mm2() * (1 + 1e-9))));
  if (fitted.rows < 1) {
    throw Error(accelerator.name + " cannot be compared at equal area",
                "not one row of it fits into " + std::to_string(array_mm2) + " mm2",
                "give it fewer lanes or tiles, or set equal_area = false in [emulation]");
  }
  return fitted;
}

}  // namespace bitcluster
