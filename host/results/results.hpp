#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/results/rows.hpp"

namespace bitcluster {

/// Bumped with every incompatible change of the tables.
inline constexpr int schema_version = 7;

struct Provenance {
  std::string program_version, git_commit, config, date;
  std::int64_t seed = 0;
  std::int64_t ranks = 1;
  std::vector<std::string> devices;  //!< one line per rank: host, backend with its threads
};

/// One results file.
struct Results {
  Provenance provenance;
  std::vector<InputRow> inputs;  //!< part of the provenance
  std::vector<LayerRow> layers;
  std::vector<SensitivityRow> sensitivity;
  std::vector<EvaluationRow> evaluations;
  std::vector<AssignmentRow> assignments;
  std::vector<FrontRow> front;
  std::vector<AcceleratorRow> accelerators;
  std::vector<EmulationRow> emulation;
  std::vector<SummaryRow> summary;
  std::vector<SkippedRow> skipped;
};

/// Calls visit(table) for every table, in the order of the file; `results.*table` is a vector of rows.
template <class Visit>
void for_each_table(Visit&& visit) {
  visit(&Results::inputs);
  visit(&Results::layers);
  visit(&Results::sensitivity);
  visit(&Results::evaluations);
  visit(&Results::assignments);
  visit(&Results::front);
  visit(&Results::accelerators);
  visit(&Results::emulation);
  visit(&Results::summary);
  visit(&Results::skipped);
}

/// The models that have rows of their own, in order.
std::vector<std::string> models_of(const Results& results);

/// Appends the rows of all tables but /accelerators, which are of no model.
void append_rows(Results& to, const Results& from);

}  // namespace bitcluster
