#pragma once

#include <cstdint>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/mapping.hpp"
#include "host/emulation/step_counter.hpp"

namespace bitcluster {

// What the steps of a layer take by each kind of rule, on the CPU.

LayerWork count_steps(const Mapping& mapping, const LayerTensors& layer, const FixedRule& rule);
LayerWork count_steps(const Mapping& mapping, const LayerTensors& layer, const WeightRule& rule);
LayerWork count_steps(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                      const ActivationRule& rule);
LayerWork count_steps(const Mapping& mapping, const LayerTensors& layer, const PairRule& rule);
/// counter: takes over what it can; may be null.
LayerWork count_steps(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                      const TacticalRule& rule, StepCounter* counter);

ColumnWork count_columns(const Accelerator& accelerator, const Mapping& mapping, const PaddedShape& shape,
                         const BrickTimes& times);

/// busy, useful: sums over all products.
LayerWork layer_work(const Mapping& mapping, const ColumnWork& columns, std::int64_t busy, std::int64_t useful);

/// Activations of one set of pixels, (taps, sources, column_stride), zeros where there is no column. A source is a
/// channel of the group, or a filter on the diagonal.
void gather_columns(const Mapping& mapping, const PaddedImage& image, int group, std::int64_t set, int sources,
                    int column_stride, std::vector<std::uint16_t>& gathered);

}  // namespace bitcluster
