#include "host/onnx/window.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace bitcluster {

Window read_window(const Node& node, const Shape& input, const std::vector<std::int64_t>& kernel) {
  const auto strides = node.integers("strides", {1, 1}), dilations = node.integers("dilations", {1, 1});
  const auto pads = node.integers("pads", {0, 0, 0, 0});
  if (kernel.size() != 2 || strides.size() != 2 || dilations.size() != 2 || pads.size() != 4) {
    node.fail("its window is not two-dimensional", "only two-dimensional images are supported");
  }
  Window w;
  w.kernel_h = node.bounded(kernel[0], 1, "kernel height");
  w.kernel_w = node.bounded(kernel[1], 1, "kernel width");
  w.stride_h = node.bounded(strides[0], 1, "stride");
  w.stride_w = node.bounded(strides[1], 1, "stride");
  w.dilation_h = node.bounded(dilations[0], 1, "dilation");
  w.dilation_w = node.bounded(dilations[1], 1, "dilation");
  const std::string auto_pad = node.text("auto_pad", "NOTSET");
  if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
    const auto pad = [&](int extent, int size, int stride, int dilation, int& before, int& after) {
      const std::int64_t positions = (extent + stride - 1) / stride;
      const std::int64_t total =
          std::max<std::int64_t>(0, (positions - 1) * stride + std::int64_t(size - 1) * dilation + 1 - extent);
      const int half = node.bounded(total / 2, 0, "pad"), rest = node.bounded(total - half, 0, "pad");
      before = auto_pad == "SAME_UPPER" ? half : rest;
      after = auto_pad == "SAME_UPPER" ? rest : half;
    };
    pad(input.height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom);
    pad(input.width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right);
  } else if (auto_pad == "NOTSET") {
    w.pad_top = node.bounded(pads[0], 0, "pad");
    w.pad_left = node.bounded(pads[1], 0, "pad");
    w.pad_bottom = node.bounded(pads[2], 0, "pad");
    w.pad_right = node.bounded(pads[3], 0, "pad");
  } else if (auto_pad != "VALID") {
    node.fail(fmt::format("its auto_pad is '{}'", auto_pad), "use NOTSET, SAME_UPPER, SAME_LOWER or VALID");
  }
  return w;
}

Shape window_output(const Node& node, const Shape& input, const Window& w, int channels, bool ceil_mode) {
  const Shape output{
      channels,
      window_positions(input.height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom, ceil_mode),
      window_positions(input.width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right, ceil_mode)};
  if (output.height < 1 || output.width < 1) {
    node.fail("its kernel is larger than its padded input", "check the input size of the model");
  }
  return output;
}

}  // namespace bitcluster
