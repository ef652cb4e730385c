#pragma once

#include <string>

#include "host/results/file.hpp"

namespace bitcluster {

/// Name in the `model` column of the rows that hold the geometric means over the models.
inline constexpr const char* geometric_mean_name = "geometric mean";

/// Fills results.summary anew from the evaluations on the test split and from the emulation: one row per model, basis,
/// accelerator and assignment, then the geometric means of the ratios per basis, accelerator and assignment.
/// BitCluster's side of a ratio is the first accelerator of the model and basis that ran M-BC (or L-BC). What was
/// evaluated but not emulated gives a row without basis and accelerator.
void summarize(Results& results, const std::string& test_split = "test");

enum class TableFormat { text, markdown, csv };
TableFormat table_format_from_string(const std::string& name);  //!< Error for an unknown name

/// The summary as a researcher reads it: accuracy, emulation at equal dense throughput, geometric means of every basis
/// beside the published claim, why the claim comes out or not, and what was skipped and why. Text is at most 120
/// columns wide; csv is results.summary as it is.
std::string format_summary(const Results& results, TableFormat format);

}  // namespace bitcluster
