#pragma once

#include <string>

#include "host/results.hpp"

namespace bitcluster {

/// Name in the `model` column of the rows that hold the geometric means over the models.
inline constexpr const char* geometric_mean_name = "geometric mean";

/// Fills results.summary anew from the evaluations on the test split and from the emulation: one row per model,
/// accelerator and assignment, then the geometric means of the ratios per accelerator and assignment. BitCluster's side
/// of a ratio is the model's first accelerator that ran M-BC (or L-BC). What was evaluated but not emulated gives a row
/// without accelerator.
void summarize(Results& results, const std::string& test_split = "test");

enum class TableFormat { text, markdown, csv };
TableFormat table_format_from_string(const std::string& name);  //!< Error for an unknown name

/// The summary as a researcher reads it: accuracy, emulation, geometric means beside the published claim, and what was
/// skipped and why. Text is at most 120 columns wide; csv is results.summary as it is.
std::string format_summary(const Results& results, TableFormat format);

}  // namespace bitcluster
