#include "host/data/accelerator_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/emulation/accelerator.hpp"
#include "host/emulation/design.hpp"
#include "host/files/toml.hpp"

namespace bitcluster {
namespace {

/// Which of some names, which the file's messages list in alphabetical order.
std::int64_t read_name(TomlTable& table, const std::string& key, std::span<const std::string_view> names) {
  std::vector<std::string> choices;
  for (const std::string_view name : names) {
    if (!name.empty()) choices.emplace_back(name);
  }
  std::sort(choices.begin(), choices.end());
  const std::string choice = table.choice(key, choices);
  return std::find(names.begin(), names.end(), choice) - names.begin();
}

/// The keys of one table. A key that the design has no use for stays unread, so finish() rejects it.
void read_fields(TomlTable& table, std::string_view name, Accelerator& accelerator) {
  for (const AcceleratorField& field : accelerator_fields()) {
    const AcceleratorField::Values& values = field.values;
    const std::string key(field.key);
    if (field.table != name || (values.is_of_design && !accelerator.design->has(key))) continue;
    if (values.is_optional && !table.has(key)) continue;
    const double high = field.high(*accelerator.design);
    if (!values.names.empty()) {
      field.set(accelerator, read_name(table, key, values.names.first(std::size_t(high) + 1)));
    } else if (std::holds_alternative<double Accelerator::*>(field.member)) {
      field.set(accelerator, table.number(key, values.low, high));
    } else {
      field.set(accelerator, table.integer(key, std::int64_t(values.low), std::int64_t(high)) * values.unit);
    }
  }
}

}  // namespace

std::string technology_file(const std::string& path) {
  TomlTable file = TomlTable::load(path);
  return file.resolve(file.text("technology"));
}

Accelerator load_accelerator(const std::string& path) {
  TomlTable file = TomlTable::load(path);
  Accelerator accelerator;
  accelerator.name = file.text("name");
  if (accelerator.name.empty()) file.reject("name", "the name is empty", "give the name that tables print");
  std::vector<std::string_view> names;
  for (const DesignInfo* design : designs()) names.push_back(design->name);
  accelerator.design = designs()[std::size_t(read_name(file, "design", names))];
  read_fields(file, "", accelerator);
  for (const std::string name : {"array", "memory", "energy", "area"}) {
    TomlTable table = file.table(name);
    read_fields(table, name, accelerator);
    table.finish();
  }

  TomlTable technology = TomlTable::load(file.resolve(file.text("technology")));
  technology.text("name");
  for (const std::string name : {"energy", "area"}) {
    TomlTable table = technology.table(name);
    read_fields(table, "technology." + name, accelerator);
    table.finish();
  }
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
    throw Error(fmt::format("{} cannot be compared at equal area", accelerator.name), "its array has no area",
                "give lane_um2 in its TOML file, or set equal_area = false in [emulation]");
  }
  // one part in 10^9 for rounding, so that an array fits its own area
  fitted.rows = int(std::min(double(most_of_array), std::floor(array_mm2 / row_mm2() * (1 + 1e-9))));
  if (fitted.rows < 1) {
    throw Error(fmt::format("{} cannot be compared at equal area", accelerator.name),
                fmt::format("not one row of it fits into {:f} mm2", array_mm2),
                "give it fewer lanes or tiles, or set equal_area = false in [emulation]");
  }
  return fitted;
}

}  // namespace bitcluster
