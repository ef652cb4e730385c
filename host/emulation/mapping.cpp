#include "host/emulation/mapping.hpp"

#include <algorithm>
#include <numeric>

#include "host/base/parallel.hpp"
#include "host/emulation/peers.hpp"

namespace bitcluster {

Mapping map_layer(const Accelerator& accelerator, const LayerGeometry& geometry) {
  Mapping mapping;
  mapping.fully_connected = geometry.fully_connected;
  mapping.depthwise = geometry.groups > 1 && geometry.channels_per_group() == 1;
  mapping.filters_in_all = geometry.filters;
  mapping.layer_groups = geometry.groups;
  if (mapping.fully_connected) {
    mapping.filters = geometry.filters;
    mapping.channels = int(geometry.input.size());
  } else {
    mapping.groups = mapping.depthwise ? 1 : geometry.groups;
    mapping.filters = geometry.filters / mapping.groups;
    mapping.channels = geometry.channels_per_group();
    mapping.taps = geometry.window.kernel_h * geometry.window.kernel_w;
    mapping.pixels = std::int64_t(geometry.output.height) * geometry.output.width;
    mapping.output_width = geometry.output.width;
    mapping.columns = accelerator.columns;
  }
  mapping.lanes = accelerator.lanes;
  mapping.rows =
      mapping.depthwise ? std::min(accelerator.lanes, accelerator.rows) : accelerator.rows * accelerator.tiles;
  mapping.column_slots = accelerator.slots_per_cycle() / accelerator.columns;
  if (accelerator.peer == Peer::bitsim) bitsim_mapping(geometry, mapping);
  mapping.rows = std::min(mapping.rows, mapping.filters);
  mapping.columns = int(std::min<std::int64_t>(mapping.columns, mapping.pixels));
  return mapping;
}

void pack_weights(const Mapping& mapping, const OperandTable& table, const std::int16_t* weights,
                  std::uint16_t* packed) {
  const int stride = mapping.lane_stride();
  const bool partial = mapping.along_lanes() % mapping.lanes != 0 || mapping.lanes % operand_padding != 0;
  if (partial) std::fill_n(packed, mapping.row_stride(), std::uint16_t(0));
  if (mapping.taps_on_lanes) {
    for (int brick = 0; brick < mapping.bricks(); ++brick) {
      std::uint16_t* target = packed + std::int64_t(brick) * stride;
      for (int lane = 0; lane < mapping.lanes_of(brick); ++lane) target[lane] = operand(table, *weights++);
    }
    return;
  }
  const std::int64_t tap_stride = std::int64_t(mapping.chunks()) * stride;
  for (int chunk = 0; chunk < mapping.chunks(); ++chunk) {
    for (int lane = 0; lane < mapping.lanes_of(chunk); ++lane) {
      for (int tap = 0; tap < mapping.taps; ++tap) {
        packed[tap * tap_stride + chunk * stride + lane] = operand(table, *weights++);
      }
    }
  }
}

PaddedShape::PaddedShape(const LayerGeometry& geometry) {
  if (geometry.fully_connected) {
    channels = int(geometry.input.size());
    return;
  }
  window = geometry.window;
  channels = geometry.input.channels;
  input_height = geometry.input.height;
  input_width = geometry.input.width;
  output_height = geometry.output.height;
  output_width = geometry.output.width;
}

PaddedImage::PaddedImage(const LayerTensors& layer, const OperandTable& table) : shape_(layer.geometry) {
  // behind the last channel there is room for a run of operands that starts inside it
  values_.assign(std::size_t(shape_.channels) * size() + operand_padding, table[0]);
  parallel_for(shape_.channels, [&](long c, int) {
    const std::int16_t* source = layer.activations.data() + c * shape_.input_height * shape_.input_width;
    for (int y = 0; y < shape_.input_height; ++y) {
      std::uint16_t* target =
          values_.data() + c * size() + (y + shape_.window.pad_top) * shape_.width() + shape_.window.pad_left;
      for (int x = 0; x < shape_.input_width; ++x) target[x] = operand(table, *source++);
    }
  });
}

std::vector<std::int64_t> operand_sums(const LayerTensors& layer, const OperandTable& table) {
  const PaddedImage image(layer, table);
  const PaddedShape& shape = image.shape();
  std::vector<std::int64_t> sums(std::size_t(shape.taps()) * shape.channels);
  parallel_for(shape.channels, [&](long c, int) {
    for (int tap = 0; tap < shape.taps(); ++tap) {
      std::int64_t sum = 0;
      for (int y = 0; y < shape.output_height; ++y) {
        const std::uint16_t* row = image.channel(int(c)) + image.offset(tap, std::int64_t(y) * shape.output_width);
        for (int x = 0; x < shape.output_width; ++x) sum += row[x * shape.window.stride_w];
      }
      sums[std::size_t(c) * shape.taps() + tap] = sum;
    }
  });
  return sums;
}

std::int64_t operand_products(const LayerTensors& layer, const OperandTable& activations, const OperandTable& weights) {
  const LayerGeometry& geometry = layer.geometry;
  const std::vector<std::int64_t> sums = operand_sums(layer, activations);
  if (weights.empty()) {  // every channel meets the filters of its group
    return std::accumulate(sums.begin(), sums.end(), std::int64_t(0)) * (geometry.filters / geometry.groups);
  }
  const std::size_t filter_size = sums.size() / geometry.groups;
  std::vector<std::int64_t> parts(static_cast<std::size_t>(thread_count()), 0);
  parallel_for(geometry.filters, [&](long filter, int thread) {
    const std::int64_t* met = sums.data() + filter / (geometry.filters / geometry.groups) * filter_size;
    const std::int16_t* weight = layer.weights.data() + filter * filter_size;
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < filter_size; ++i) sum += met[i] * operand(weights, weight[i]);
    parts[thread] += sum;
  });
  return std::accumulate(parts.begin(), parts.end(), std::int64_t(0));
}

}  // namespace bitcluster
