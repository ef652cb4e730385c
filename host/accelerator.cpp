#include "host/accelerator.hpp"

#include <map>

#include "host/toml.hpp"

namespace bitcluster {
namespace {

const std::map<std::string, Design> design_names = {{"bit_parallel", Design::bit_parallel},
                                                    {"stripes", Design::stripes},
                                                    {"pragmatic_weights", Design::pragmatic_weights},
                                                    {"laconic", Design::laconic},
                                                    {"bitcluster", Design::bitcluster}};

template <class T>
T choose(TomlTable& table, const std::string& key, const std::map<std::string, T>& names) {
  std::vector<std::string> choices;
  for (const auto& [name, value] : names) choices.push_back(name);
  return names.at(table.choice(key, choices));
}

constexpr double largest = 1e12;

}  // namespace

Accelerator load_accelerator(const std::string& path) {
  TomlTable file = TomlTable::load(path);
  Accelerator accelerator;
  accelerator.name = file.text("name");
  if (accelerator.name.empty()) file.reject("name", "the name is empty", "give the name that tables print");
  accelerator.design = choose(file, "design", design_names);
  // A key that the design has no use for stays unread, so finish() rejects it.
  const Design design = accelerator.design;
  if (design == Design::pragmatic_weights || design == Design::laconic || design == Design::bitcluster) {
    accelerator.encoding =
        choose<Encoding>(file, "encoding", {{"binary", Encoding::binary}, {"signed_digit", Encoding::signed_digit}});
  }
  if (design == Design::pragmatic_weights) {
    accelerator.first_stage_shift = int(file.integer("first_stage_shift", 0, 4));
  }
  if (design == Design::stripes) accelerator.precision = int(file.integer("precision", 1, 16, 0));
  accelerator.clock_ghz = file.number("clock_ghz", 1e-3, 100);

  TomlTable array = file.table("array");
  accelerator.lanes = int(array.integer("lanes", 1, 4096));
  accelerator.rows = int(array.integer("rows", 1, 4096));
  accelerator.columns = int(array.integer("columns", 1, 4096));
  accelerator.tiles = int(array.integer("tiles", 1, 4096));
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
  accelerator.on_chip_energy = energy.number("on_chip_pj_per_byte", 0, largest);
  accelerator.off_chip_energy = energy.number("off_chip_pj_per_byte", 0, largest);
  accelerator.leakage_energy = energy.number("leakage_pj_per_cycle", 0, largest);
  energy.finish();

  TomlTable area = file.table("area");
  accelerator.lane_area = area.number("lane_um2", 0, largest);
  accelerator.buffer_area = area.number("buffer_um2_per_byte", 0, largest);
  area.finish();

  file.finish();
  return accelerator;
}

}  // namespace bitcluster
