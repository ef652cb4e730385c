#pragma once

#include <string>

#include "host/results/results.hpp"

namespace bitcluster {

enum class TableFormat { text, markdown, csv };
TableFormat table_format_from_string(const std::string& name);  //!< Error for an unknown name

/// The formats of a model's layers in an assignment; as csv in the form that assignment files have. Error without it.
std::string format_layers(const Results& results, const std::string& model, const std::string& assignment,
                          TableFormat format);

/// The summary as a researcher reads it: accuracy, emulation at equal dense throughput, geometric means of every basis
/// beside the published claim, why the claim comes out or not, and what was skipped and why. Without a summary the
/// evaluations, without these the layers. Text is at most 120 columns wide; csv is that one table as it is.
std::string format_summary(const Results& results, TableFormat format);

}  // namespace bitcluster
