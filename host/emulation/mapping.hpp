#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/base/host_device.hpp"
#include "host/emulation/accelerator.hpp"
#include "host/emulation/layer.hpp"
#include "host/emulation/operands.hpp"

namespace bitcluster {

BITCLUSTER_HOST_DEVICE inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
BITCLUSTER_HOST_DEVICE inline int round_up(int value, int multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Where a weight is in its filter.
struct KernelPosition {
  int channel, tap;
};

/// How a layer is laid on the array: groups one after another, in each of them sets of pixels,
/// batches of filters and bricks of weights, in this order. Every combination of the three is a step.
struct Mapping {
  bool fully_connected = false, depthwise = false;
  bool taps_on_lanes = false;  //!< a brick is a run of taps of one channel, not a run of channels at one tap
  bool within_row = false;     //!< a set of pixels does not cross rows of the output
  int groups = 1;              //!< worked on one after another; 1 if depthwise or if rows are not used
  int filters = 0;             //!< per group
  int channels = 0;            //!< per filter
  int taps = 1;                //!< kernel positions
  std::int64_t pixels = 1;
  int output_width = 1;

  int lanes = 0;                  //!< weights per brick
  int rows = 0;                   //!< filters per step, over all tiles; at most those of a group
  int columns = 1;                //!< pixels per step; at most those of a map
  int filters_in_all = 0;         //!< of all groups of the layer
  int layer_groups = 1;           //!< groups of the layer, depthwise included
  std::int64_t column_slots = 0;  //!< of one column of the array, on whatever part of it the layer is laid

  BITCLUSTER_HOST_DEVICE std::int64_t pixel_sets() const {
    return within_row ? pixels / output_width * ceil_div(output_width, columns) : ceil_div(pixels, columns);
  }
  BITCLUSTER_HOST_DEVICE std::int64_t first_pixel(std::int64_t set) const {
    const std::int64_t per_row = ceil_div(output_width, columns);
    return within_row ? set / per_row * output_width + set % per_row * columns : set * columns;
  }
  BITCLUSTER_HOST_DEVICE int columns_of(std::int64_t set) const {
    const std::int64_t left = within_row ? output_width - first_pixel(set) % output_width : pixels - first_pixel(set);
    return int(left < columns ? left : columns);
  }

  BITCLUSTER_HOST_DEVICE int batches() const { return int(ceil_div(filters, rows)); }
  BITCLUSTER_HOST_DEVICE int rows_of(int batch) const {
    return filters - batch * rows < rows ? filters - batch * rows : rows;
  }

  /// Bricks of a filter in the order of time; `chunks` of them are a tap (or a channel, with taps on lanes).
  BITCLUSTER_HOST_DEVICE int along_lanes() const { return taps_on_lanes ? taps : channels; }
  BITCLUSTER_HOST_DEVICE int chunks() const { return int(ceil_div(along_lanes(), lanes)); }
  BITCLUSTER_HOST_DEVICE int bricks() const { return (taps_on_lanes ? channels : taps) * chunks(); }
  BITCLUSTER_HOST_DEVICE int tap_of(int brick) const { return brick / chunks(); }
  BITCLUSTER_HOST_DEVICE int lanes_of(int brick) const {
    const int left = along_lanes() - brick % chunks() * lanes;
    return left < lanes ? left : lanes;
  }
  BITCLUSTER_HOST_DEVICE KernelPosition kernel_position(int brick, int lane) const {
    const int outer = brick / chunks(), inner = brick % chunks() * lanes + lane;
    return taps_on_lanes ? KernelPosition{outer, inner} : KernelPosition{inner, outer};
  }

  BITCLUSTER_HOST_DEVICE std::int64_t steps() const { return groups * pixel_sets() * batches() * bricks(); }

  /// Columns that have a pixel, of all sets together: all but maybe those of the last set, of the map or of each row.
  std::int64_t filled_columns() const {
    const std::int64_t rows = within_row ? pixels / output_width : 1, last = pixel_sets() / rows - 1;
    return rows * (last * columns + columns_of(last));
  }

  /// Slots without a value in `count` steps together, in which `filled` slots of each of `columns_filled` columns hold
  /// one; of the columns that are never used emulate() knows. Modulo 2^64: emulate() rejects layers with more.
  BITCLUSTER_HOST_DEVICE std::uint64_t empty_slots(std::int64_t count, std::int64_t columns_filled,
                                                   std::int64_t filled) const {
    return std::uint64_t(count) * std::uint64_t(columns * column_slots) - std::uint64_t(columns_filled * filled);
  }

  /// Channel of the input that a filter (counted over all groups) reads as its own `channel`.
  BITCLUSTER_HOST_DEVICE int input_channel(std::int64_t filter, int channel) const {
    return int(filter / (filters_in_all / layer_groups)) * channels + channel;
  }

  int lane_stride() const { return round_up(lanes < along_lanes() ? lanes : along_lanes(), operand_padding); }
  std::int64_t row_stride() const { return std::int64_t(bricks()) * lane_stride(); }
};

Mapping map_layer(const Accelerator& accelerator, const LayerGeometry& geometry);

/// Operands of one filter's weights, (bricks, lane_stride), zeros where there is no lane.
void pack_weights(const Mapping& mapping, const OperandTable& table, const std::int16_t* weights,
                  std::uint16_t* packed);

/// Where things are in one channel of an image behind its padding. A fully connected layer is one pixel whose channels
/// are all its input values.
struct PaddedShape {
  Window window;
  int channels = 0;
  int input_height = 1, input_width = 1;  //!< without padding
  int output_height = 1, output_width = 1;

  explicit PaddedShape(const LayerGeometry& geometry);

  BITCLUSTER_HOST_DEVICE std::int64_t height() const {
    return std::int64_t(input_height) + window.pad_top + window.pad_bottom;
  }
  BITCLUSTER_HOST_DEVICE std::int64_t width() const {
    return std::int64_t(input_width) + window.pad_left + window.pad_right;
  }
  BITCLUSTER_HOST_DEVICE std::int64_t size() const { return height() * width(); }
  BITCLUSTER_HOST_DEVICE int taps() const { return window.kernel_h * window.kernel_w; }
  BITCLUSTER_HOST_DEVICE std::int64_t pixels() const { return std::int64_t(output_height) * output_width; }

  /// Offset of what `tap` of output pixel `pixel` reads.
  BITCLUSTER_HOST_DEVICE std::int64_t offset(int tap, std::int64_t pixel) const {
    const std::int64_t y = pixel / output_width * window.stride_h + tap / window.kernel_w * window.dilation_h;
    const std::int64_t x = pixel % output_width * window.stride_w + tap % window.kernel_w * window.dilation_w;
    return y * width() + x;
  }
};

/// Operands of one image behind its padding, found by channel, tap and pixel.
class PaddedImage {
 public:
  PaddedImage(const LayerTensors& layer, const OperandTable& table);

  const PaddedShape& shape() const { return shape_; }
  const std::uint16_t* channel(int c) const { return values_.data() + c * size(); }
  std::ptrdiff_t offset(int tap, std::int64_t pixel) const { return shape_.offset(tap, pixel); }
  std::ptrdiff_t size() const { return shape_.size(); }  //!< of a channel

 private:
  PaddedShape shape_;
  std::vector<std::uint16_t> values_;
};

/// Sum over all pixels of the operand that each tap of each channel meets, padding included: (channels, taps), or
/// (input values, 1) of a fully connected layer.
std::vector<std::int64_t> operand_sums(const LayerTensors& layer, const OperandTable& table);

/// Sum over all products of the activation's operand times the weight's (1 where that table is empty).
std::int64_t operand_products(const LayerTensors& layer, const OperandTable& activations, const OperandTable& weights);

}  // namespace bitcluster
