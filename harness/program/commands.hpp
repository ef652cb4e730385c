#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/ranks/ranks.hpp"
#include "host/weights/format.hpp"

namespace bitcluster {

// One function per subcommand of the program. All are collective over the ranks; only the root
// prints and writes. Each throws Error if not everything that was asked for could be done; nothing is then left under
// the output's name. Those with StudyOptions record what is finished in a journal beside the output, which the complete
// output replaces, and throw Interrupted after a signal that asks to stop.

struct InspectOptions {
  std::string model, output;
};
void inspect(const Ranks& ranks, const InspectOptions& options);

struct EvaluateOptions {
  std::string model, data;
  std::string weights = "integer";  //!< float | integer | bitcluster
  WeightFormat format;              //!< of bitcluster weights
  std::string assignment;           //!< file with the formats of all layers instead; empty: none
  std::string split = "test";
  int images = 0;  //!< the first so many of the split; 0: all
  std::string calibration = "least_squares";
  std::optional<double> percentile;  //!< of that method
  std::string calibration_split = "calibration";
  std::string backend = "auto";  //!< auto | cpu | cuda
  std::string output;
};
void evaluate(const Ranks& ranks, const EvaluateOptions& options);

struct StudyOptions {
  std::string config, output;
  std::vector<std::string> models;  //!< of the config; empty: all
  bool resume = false;              //!< go on with an interrupted run
  bool keep_journal = false;        //!< beside the complete output, for a run with other options
  std::string backend = "auto";
  std::vector<std::string> assignments;  //!< [MODEL=]FILE.csv, beside what is found
  std::vector<int> plan;                 //!< numbers of ranks: only predict what the study would take on them
};
void search(const Ranks& ranks, const StudyOptions& options);
void emulate(const Ranks& ranks, const StudyOptions& options);
void run(const Ranks& ranks, const StudyOptions& options);

struct TraceOptions {
  std::string trace, output;
  std::string backend = "auto";
  bool check = false;  //!< run functional mode, too
  std::vector<std::string> designs;
};
void emulate_trace(const Ranks& ranks, const TraceOptions& options);

/// Prints the names of a config's models, one a line.
void list_models(const Ranks& ranks, const std::string& config);

struct TableOptions {
  std::vector<std::string> results;  //!< several are merged
  std::string output;
  std::string format = "text";  //!< text | markdown | csv
  std::string layers;           //!< model whose layers to print instead; empty: none
  std::string assignment = "L-BC";
};
void table(const Ranks& ranks, const TableOptions& options);

}  // namespace bitcluster
