#include "host/emulation/peers.hpp"

#include <utility>

#include "host/base/parallel.hpp"
#include "host/emulation/design.hpp"

namespace bitcluster {
namespace {

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

PeerLayer::PeerLayer(const Accelerator& accelerator, const LayerTensors& layer) : tensors(layer) {
  if (accelerator.peer != Peer::dnnsim) return;
  fold(*this);
  // which pixels work side by side matters to those only whose steps depend on them
  if (accelerator.design->needs_activations()) transpose(*this);
}

}  // namespace bitcluster
