#pragma once

#include <cstdint>
#include <vector>

#include "host/model/network.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// Window attributes of Conv, MaxPool and AveragePool; kernel: (height, width). Error if one is missing or out of
/// range.
Window read_window(const Node& node, const Shape& input, const std::vector<std::int64_t>& kernel);

/// Output of a window; Error where it does not fit.
Shape window_output(const Node& node, const Shape& input, const Window& window, int channels, bool ceil_mode);

}  // namespace bitcluster
