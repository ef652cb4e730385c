#include "host/results/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "host/base/error.hpp"
#include "host/results/file.hpp"

namespace bitcluster {
namespace {

[[noreturn]] void reject(const std::string& path, const std::string& other, const std::string& why,
                         const std::string& what_to_do) {
  throw Error(fmt::format("cannot merge '{}' with '{}'", path, other), why, what_to_do);
}

/// Adds the accelerators that are not there yet; Error if one is there and differs.
void merge_accelerators(std::vector<AcceleratorRow>& accelerators, const std::vector<AcceleratorRow>& others,
                        const std::string& path, const std::string& other_path) {
  for (const AcceleratorRow& row : others) {
    const auto known = std::find_if(accelerators.begin(), accelerators.end(), [&](const AcceleratorRow& other) {
      return row.basis == other.basis && row.accelerator == other.accelerator;
    });
    if (known == accelerators.end()) {
      accelerators.push_back(row);
    } else if (*known != row) {
      reject(path, other_path, "the accelerator '" + row.accelerator + "' is not the same in both",
             "make them with the same accelerator files");
    }
  }
}

/// Adds the inputs that are not there yet; Error if one is there and was another file then.
void merge_inputs(std::vector<InputRow>& inputs, const std::vector<InputRow>& others, const std::string& path,
                  const std::string& other_path) {
  for (const InputRow& row : others) {
    const auto known = std::ranges::find(inputs, row.path, &InputRow::path);
    if (known == inputs.end()) {
      inputs.push_back(row);
    } else if (known->checksum != row.checksum) {
      reject(path, other_path, fmt::format("'{}' changed between them", row.path),
             "make them again from one state of it");
    }
  }
}

}  // namespace

Results merge_results(const std::vector<std::string>& paths) {
  Results merged = read_results(paths.at(0));
  std::map<std::string, std::string> file_of;  // by model
  for (const std::string& path : paths) {
    const bool first = &path == &paths[0];
    const Results part = first ? merged : read_results(path);
    const Provenance &own = part.provenance, &common = merged.provenance;
    if (own.program_version != common.program_version || own.git_commit != common.git_commit) {
      reject(path, paths[0],
             fmt::format("they were made by bitcluster {} ({}) and {} ({})", own.program_version, own.git_commit,
                         common.program_version, common.git_commit),
             "make them with the same program");
    }
    if (own.config != common.config) {
      reject(path, paths[0], "their configs differ", "make them from one config, each with other models (--model)");
    }
    for (const std::string& model : models_of(part)) {
      const auto [place, is_new] = file_of.try_emplace(model, path);
      if (!is_new) reject(path, place->second, "both have the model '" + model + "'", "give every model once");
    }
    if (first) continue;
    merge_inputs(merged.inputs, part.inputs, path, paths[0]);
    merge_accelerators(merged.accelerators, part.accelerators, path, paths[0]);
    append_rows(merged, part);
    merged.provenance.ranks += own.ranks;
    merged.provenance.devices.insert(merged.provenance.devices.end(), own.devices.begin(), own.devices.end());
    merged.provenance.date = std::max(common.date, own.date);
  }
  merged.summary.clear();
  return merged;
}

}  // namespace bitcluster
