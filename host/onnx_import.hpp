#pragma once

#include <string>

#include "host/network.hpp"

namespace bitcluster {

/// Reads an ONNX file as exporters write it: constant sub-graphs and batch normalization are folded,
/// ReLU and Clip become the clamp of their producer, zero padding becomes part of its convolution, a final Softmax is
/// dropped, the batch dimension is ignored. Throws Error for an unreadable file and for anything unsupported, naming
/// node and operator.
Network import_onnx(const std::string& path);

}  // namespace bitcluster
