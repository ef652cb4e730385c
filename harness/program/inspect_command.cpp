#include <fmt/core.h>

#include "harness/program/commands.hpp"
#include "harness/program/input_files.hpp"
#include "harness/program/results_output.hpp"
#include "host/base/printable.hpp"
#include "host/onnx/import.hpp"
#include "host/results/build_rows.hpp"
#include "host/results/report.hpp"

namespace bitcluster {

void inspect(const Ranks& ranks, const InspectOptions& options) {
  InputFiles files(ranks);
  files.add_model(options.model);
  const Network network = import_onnx(options.model);
  Results results = start_results(ranks, options.output, "no backend");
  results.inputs = files.rows();
  results.layers = layer_rows(network.name, network);
  files.check_unchanged();
  finish_results(ranks, options.output, results);
  if (!ranks.root()) return;
  const Shape& input = network.input();
  fmt::print("{}: input {} x {} x {}, {} classes\n\n{}", printable(network.name), input.channels, input.height,
             input.width, network.classes(), format_summary(results, TableFormat::text));
  std::int64_t weights = 0, macs = 0;
  for (const LayerRow& layer : results.layers) {
    weights += layer.weights;
    macs += layer.macs;
  }
  fmt::print("\n{} layers with weights, {} weights, {} multiply-accumulates per image\n", results.layers.size(),
             weights, macs);
}

}  // namespace bitcluster
