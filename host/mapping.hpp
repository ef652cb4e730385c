#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "host/accelerator.hpp"
#include "host/emulator.hpp"

namespace bitcluster {

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

/// Operands come in runs of this many, so that a compiler can vectorise over them.
inline constexpr int operand_padding = 16;

/// What a design's rule sees of a value: a mask of term positions, a number of terms, a width. Indexed by the value as
/// std::uint16_t.
using OperandTable = std::vector<std::uint16_t>;
inline std::uint16_t operand(const OperandTable& table, std::int16_t value) { return table[std::uint16_t(value)]; }

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

  int lanes = 0;           //!< weights per brick
  int rows = 0;            //!< filters per step, over all tiles; at most those of a group
  int columns = 1;         //!< pixels per step; at most those of a map
  int filters_in_all = 0;  //!< of all groups of the layer
  int layer_groups = 1;    //!< groups of the layer, depthwise included

  std::int64_t pixel_sets() const {
    return within_row ? pixels / output_width * ceil_div(output_width, columns) : ceil_div(pixels, columns);
  }
  std::int64_t first_pixel(std::int64_t set) const {
    const std::int64_t per_row = ceil_div(output_width, columns);
    return within_row ? set / per_row * output_width + set % per_row * columns : set * columns;
  }
  int columns_of(std::int64_t set) const {
    const std::int64_t left = within_row ? output_width - first_pixel(set) % output_width : pixels - first_pixel(set);
    return int(left < columns ? left : columns);
  }

  int batches() const { return int(ceil_div(filters, rows)); }
  int rows_of(int batch) const { return filters - batch * rows < rows ? filters - batch * rows : rows; }

  /// Bricks of a filter in the order of time; `chunks` of them are a tap (or a channel, with taps on lanes).
  int along_lanes() const { return taps_on_lanes ? taps : channels; }
  int chunks() const { return int(ceil_div(along_lanes(), lanes)); }
  int bricks() const { return (taps_on_lanes ? channels : taps) * chunks(); }
  int tap_of(int brick) const { return brick / chunks(); }
  int lanes_of(int brick) const {
    const int left = along_lanes() - brick % chunks() * lanes;
    return left < lanes ? left : lanes;
  }
  struct Place {
    int channel, tap;
  };
  Place place(int brick, int lane) const {
    const int outer = brick / chunks(), inner = brick % chunks() * lanes + lane;
    return taps_on_lanes ? Place{outer, inner} : Place{inner, outer};
  }

  std::int64_t steps() const { return groups * pixel_sets() * batches() * bricks(); }

  /// Channel of the input that a filter (counted over all groups) reads as its own `channel`.
  int input_channel(std::int64_t filter, int channel) const {
    return int(filter / (filters_in_all / layer_groups)) * channels + channel;
  }

  int lane_stride() const { return round_up(lanes < along_lanes() ? lanes : along_lanes(), operand_padding); }
  std::int64_t row_stride() const { return std::int64_t(bricks()) * lane_stride(); }
};

/// Error for an accelerator with a fault, tensors that do not fit the geometry, or no activations
/// where the design needs them.
void check_layer(const Accelerator& accelerator, const LayerTensors& layer);

Mapping map_layer(const Accelerator& accelerator, const LayerGeometry& geometry);

/// Operands of one filter's weights, (bricks, lane_stride), zeros where there is no lane.
void pack_weights(const Mapping& mapping, const OperandTable& table, const std::int16_t* weights,
                  std::uint16_t* packed);

/// Operands of one image behind its padding, found by channel, tap and pixel. A fully connected layer is one pixel
/// whose channels are all its input values.
class PaddedImage {
 public:
  PaddedImage(const LayerTensors& layer, const OperandTable& table);

  const std::uint16_t* channel(int c) const { return values_.data() + std::ptrdiff_t(c) * size(); }

  /// Offset inside a channel of what `tap` of output pixel `pixel` reads.
  std::ptrdiff_t offset(int tap, std::int64_t pixel) const {
    const std::int64_t y = pixel / output_width_ * window_.stride_h + tap / window_.kernel_w * window_.dilation_h;
    const std::int64_t x = pixel % output_width_ * window_.stride_w + tap % window_.kernel_w * window_.dilation_w;
    return y * width_ + x;
  }

  std::ptrdiff_t size() const { return height_ * width_; }  //!< of a channel

 private:
  Window window_;
  int output_width_;
  std::int64_t height_, width_;
  std::vector<std::uint16_t> values_;
};

/// Sum over all pixels of the operand that each tap of each channel meets, padding included: (channels, taps), or
/// (input values, 1) of a fully connected layer.
std::vector<std::int64_t> operand_sums(const LayerTensors& layer, const OperandTable& table);

/// Sum over all products of the activation's operand times the weight's (1 where that table is empty).
std::int64_t operand_products(const LayerTensors& layer, const OperandTable& activations, const OperandTable& weights);

/// A layer's tensors as a peer simulator sees them, and the storage behind them. Other accelerators see the layer.
struct PeerLayer {
  LayerTensors tensors;
  std::vector<std::int16_t> weights, activations;

  PeerLayer(const Accelerator& accelerator, const LayerTensors& layer);
  PeerLayer(const PeerLayer&) = delete;
};

}  // namespace bitcluster
