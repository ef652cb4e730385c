#include <fmt/core.h>

#include "harness/program/commands.hpp"
#include "harness/program/results_output.hpp"
#include "host/onnx/import.hpp"
#include "host/results/build_rows.hpp"

namespace bitcluster {

void inspect(const Ranks& ranks, const InspectOptions& options) {
  const Network network = import_onnx(options.model);
  Results results = start_results(ranks, options.output, "no backend");
  results.layers = layer_rows(network.name, network);
  finish_results(ranks, options.output, results);
  if (!ranks.root()) return;
  const Shape& input = network.input();
  fmt::print("{}: input {} x {} x {}, {} classes\n\n", network.name, input.channels, input.height, input.width,
             network.classes());
  fmt::print("{:<40} {:<5} {:>15} {:>7} {:>6} {:>10} {:>11} {:>13} {:>12}\n", "layer", "kind", "filters", "kernel",
             "groups", "output", "weights", "MAC", "binary terms");
  std::int64_t weights = 0, macs = 0;
  for (const LayerRow& layer : results.layers) {
    fmt::print("{:<40} {:<5} {:>15} {:>7} {:6} {:>10} {:11} {:13} {:12.3f}\n", layer.layer, layer.kind,
               fmt::format("{} -> {}", layer.channels, layer.filters),
               fmt::format("{}x{}", layer.kernel_h, layer.kernel_w), layer.groups,
               fmt::format("{}x{}", layer.output_h, layer.output_w), layer.weights, layer.macs,
               layer.binary_terms_mean);
    weights += layer.weights;
    macs += layer.macs;
  }
  fmt::print("\n{} layers with weights, {} weights, {} multiply-accumulates per image\n", results.layers.size(),
             weights, macs);
}

}  // namespace bitcluster
