#pragma once

#include <string>

#include "host/results/results.hpp"

namespace bitcluster {

/// Fills results.summary anew from the evaluations on the test split and from the emulation: one row per model, basis,
/// accelerator and assignment, then the geometric means of the ratios per basis, accelerator and assignment.
/// BitCluster's side of a ratio is the first accelerator of the model and basis that ran M-BC (or L-BC). What was
/// evaluated but not emulated gives a row without basis and accelerator.
void summarize(Results& results, const std::string& test_split = "test");

}  // namespace bitcluster
