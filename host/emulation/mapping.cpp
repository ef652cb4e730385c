#include "host/emulation/mapping.hpp"

#include <algorithm>
#include <numeric>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"

namespace bitcluster {
namespace {

// BitSim's array: taps on the lanes where a kernel has more taps than the layer channels; layers in groups, depthwise
// included, one filter at a time with taps on the lanes; a set of pixels within one row of the output.
void bitsim_mapping(const LayerGeometry& geometry, Mapping& mapping) {
  mapping.within_row = true;
  mapping.output_width = geometry.fully_connected ? 1 : geometry.output.width;
  if (geometry.fully_connected) return;
  if (geometry.groups > 1) {
    mapping.depthwise = false;
    mapping.taps_on_lanes = true;
    mapping.groups = 1;
    mapping.filters = geometry.filters;
    mapping.rows = 1;
  } else {
    mapping.taps_on_lanes = mapping.taps > mapping.channels;
  }
}

/// DNNsim folds a strided first layer: every `stride` x `stride` block of the padded input becomes one pixel with as
/// many times the channels. Only where it does so: three channels, one group.
void fold(PeerLayer& layer) {
  LayerGeometry& geometry = layer.tensors.geometry;
  const Window window = geometry.window;
  const int stride = window.stride_h;
  if (geometry.fully_connected || geometry.groups != 1 || geometry.input.channels != 3 || stride < 2 ||
      window.stride_w != stride || window.dilation_h != 1 || window.dilation_w != 1) {
    return;
  }
  const Shape input = geometry.input;
  const int height = input.height + window.pad_top + window.pad_bottom;
  const int width = input.width + window.pad_left + window.pad_right;
  const auto folded_channel = [&](int c, int y, int x) { return (x % stride * stride + y % stride) * 3 + c; };
  const auto move = [&](std::span<const std::int16_t> from, int first_y, int first_x, int h, int w, Shape to,
                        std::int16_t* target) {  // one filter or image of 3 x h x w values
    for (int c = 0, i = 0; c < 3; ++c) {
      for (int y = first_y; y < first_y + h; ++y) {
        for (int x = first_x; x < first_x + w; ++x, ++i) {
          target[(std::int64_t(folded_channel(c, y, x)) * to.height + y / stride) * to.width + x / stride] = from[i];
        }
      }
    }
  };
  const auto blocks = [&](int size) { return int(ceil_div(size, stride)); };
  const Shape folded = {3 * stride * stride, blocks(height), blocks(width)};
  const Shape kernel = {folded.channels, blocks(window.kernel_h), blocks(window.kernel_w)};
  std::vector<std::int16_t> weights(std::size_t(geometry.filters) * kernel.size(), 0);
  const std::size_t filter_size = std::size_t(3) * window.kernel_h * window.kernel_w;
  for (int f = 0; f < geometry.filters; ++f) {
    move(layer.tensors.weights.subspan(f * filter_size, filter_size), 0, 0, window.kernel_h, window.kernel_w, kernel,
         weights.data() + f * kernel.size());
  }
  layer.weights = std::move(weights);
  layer.tensors.weights = layer.weights;
  if (!layer.tensors.activations.empty()) {
    std::vector<std::int16_t> activations(folded.size(), 0);
    move(layer.tensors.activations, window.pad_top, window.pad_left, input.height, input.width, folded,
         activations.data());
    layer.activations = std::move(activations);
    layer.tensors.activations = layer.activations;
  }
  geometry.input = folded;
  geometry.window = Window();
  geometry.window.kernel_h = kernel.height;
  geometry.window.kernel_w = kernel.width;
  geometry.output = {geometry.filters, folded.height - kernel.height + 1, folded.width - kernel.width + 1};
}

std::vector<std::int16_t> transposed(std::span<const std::int16_t> planes, int height, int width) {
  std::vector<std::int16_t> result(planes.size());
  const std::size_t size = std::size_t(height) * width;
  parallel_for(long(planes.size() / size), [&](long plane, int) {
    for (int y = 0; y < height; ++y) {
      for (int x = 0; x < width; ++x) result[plane * size + x * height + y] = planes[plane * size + y * width + x];
    }
  });
  return result;
}

/// DNNsim counts pixels and taps along the first spatial axis (h): the same as ours with h and w exchanged.
void transpose(PeerLayer& layer) {
  LayerGeometry& geometry = layer.tensors.geometry;
  if (geometry.fully_connected) return;
  Window& window = geometry.window;
  layer.weights = transposed(layer.tensors.weights, window.kernel_h, window.kernel_w);
  layer.tensors.weights = layer.weights;
  layer.activations = transposed(layer.tensors.activations, geometry.input.height, geometry.input.width);
  layer.tensors.activations = layer.activations;
  std::swap(geometry.input.height, geometry.input.width);
  std::swap(geometry.output.height, geometry.output.width);
  std::swap(window.kernel_h, window.kernel_w);
  std::swap(window.stride_h, window.stride_w);
  std::swap(window.dilation_h, window.dilation_w);
  std::swap(window.pad_top, window.pad_left);
  std::swap(window.pad_bottom, window.pad_right);
}

}  // namespace

void check_layer(const Accelerator& accelerator, const LayerTensors& layer) {
  if (const auto fault = fault_of(accelerator)) {
    throw Error("accelerator '" + accelerator.name + "' cannot be emulated", fault->key + ": " + fault->why,
                fault->what_to_do);
  }
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const auto reject = [&](const std::string& why, const std::string& what_to_do) {
    throw Error("layer '" + g.name + "' cannot be emulated", why, what_to_do);
  };
  if (g.input.height < 1 || g.input.width < 1) reject("its input has no pixels", "correct the input shape");
  if (g.groups < 1 || g.filters < 1 || g.input.channels < 1 || g.filters % g.groups || g.input.channels % g.groups) {
    reject("its " + std::to_string(g.filters) + " filters and " + std::to_string(g.input.channels) +
               " channels do not divide into " + std::to_string(g.groups) + " groups",
           "correct the groups");
  }
  if (w.kernel_h < 1 || w.kernel_w < 1 || w.stride_h < 1 || w.stride_w < 1 || w.dilation_h < 1 || w.dilation_w < 1 ||
      w.pad_top < 0 || w.pad_left < 0 || w.pad_bottom < 0 || w.pad_right < 0) {
    reject("kernel, stride or dilation is below 1, or padding below 0", "correct the window");
  }
  using Wide = std::int64_t;  // products of two ints, however wrong they are
  const auto extent = [](Wide input, Wide kernel, Wide stride, Wide dilation, Wide pads) {
    const Wide left = input + pads - dilation * (kernel - 1) - 1;
    return left < 0 ? 0 : left / stride + 1;
  };
  const Wide height = extent(g.input.height, w.kernel_h, w.stride_h, w.dilation_h, Wide(w.pad_top) + w.pad_bottom);
  const Wide width = extent(g.input.width, w.kernel_w, w.stride_w, w.dilation_w, Wide(w.pad_left) + w.pad_right);
  if (g.output.channels != g.filters || g.output.height != height || g.output.width != width || height * width == 0) {
    reject("its window does not give its output shape", "correct the shapes");
  }
  if (g.fully_connected && (g.groups != 1 || w.kernel_h != g.input.height || w.kernel_w != g.input.width ||
                            height != 1 || width != 1 || w.dilation_h != 1 || w.dilation_w != 1 || w.pad_top != 0 ||
                            w.pad_left != 0 || w.pad_bottom != 0 || w.pad_right != 0)) {
    reject("it is fully connected but its kernel does not cover its input", "describe it as a convolution");
  }
  if (layer.weights.size() != std::size_t(g.filters) * g.channels_per_group() * w.kernel_h * w.kernel_w) {
    reject("the number of weights does not fit its shape", "give (filters, channels / groups, kernel_h, kernel_w)");
  }
  if (!layer.activations.empty() && layer.activations.size() != g.input.size()) {
    reject("the number of activations does not fit its input", "give one image, (channels, h, w)");
  }
  // a sign and 16 bits hold any int16
  if (layer.activation_bits < 1 || layer.activation_bits > 17 || layer.weight_format.bits < 1 ||
      layer.weight_format.bits > 17) {
    reject("its values have " + std::to_string(layer.activation_bits) + " and " +
               std::to_string(layer.weight_format.bits) + " bits (activations, weights)",
           "give 1 to 17");
  }
  if (layer.activations.empty() && needs_activations(accelerator.design)) {
    reject("the cycles of " + accelerator.name + " depend on the activations and there are none",
           "give activations or leave this design out");
  }
}

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

PeerLayer::PeerLayer(const Accelerator& accelerator, const LayerTensors& layer) : tensors(layer) {
  if (accelerator.peer != Peer::dnnsim) return;
  fold(*this);
  // where every step takes the same time, the order does not matter
  if (accelerator.design != Design::bit_parallel && accelerator.design != Design::stripes) transpose(*this);
}

}  // namespace bitcluster
