#include <fmt/core.h>

#include "harness/program/commands.hpp"
#include "harness/study/config.hpp"
#include "host/base/error.hpp"
#include "host/files/posix_file.hpp"
#include "host/results/file.hpp"
#include "host/results/merge.hpp"
#include "host/results/report.hpp"
#include "host/results/summary.hpp"

namespace bitcluster {

void table(const Ranks& ranks, const TableOptions& options) {
  if (!ranks.root()) return;
  const std::vector<std::string>& files = options.results;
  for (const std::string& file : files) check_input(file);
  Results results = files.size() == 1 ? read_results(files[0]) : merge_results(files);
  if (files.size() > 1) {
    const std::string& config = results.provenance.config;  // none in results of a trace
    summarize(results, config.empty() ? "test" : parse_config(config, files[0]).search.test_split);
  }
  if (!options.output.empty()) write_results(options.output, results);
  const TableFormat format = table_format_from_string(options.format);
  if (!options.layers.empty()) {
    fmt::print("{}", format_layers(results, options.layers, options.assignment, format));
    return;
  }
  const std::string tables = format_summary(results, format);
  if (tables.empty()) {
    throw Error("cannot print the tables of '" + files[0] + "'", "it holds no results",
                "give a file that run, search, emulate, evaluate or inspect wrote");
  }
  fmt::print("{}", tables);
}

}  // namespace bitcluster
