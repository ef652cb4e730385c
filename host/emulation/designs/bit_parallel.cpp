#include "host/emulation/design.hpp"

namespace bitcluster {
namespace {

/// DaDianNao (Chen et al., MICRO 2014).
DesignRule rule(const Accelerator&, const LayerTensors& layer) {
  return FixedRule{1, std::int64_t(layer.weights.size()) * pixels_of(layer.geometry)};
}

}  // namespace

extern constinit const DesignInfo bit_parallel_design = {
    .name = "bit_parallel", .dense_cycles = [](const Accelerator&) { return 1; }, .rule = rule};

}  // namespace bitcluster
