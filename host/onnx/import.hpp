#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "host/model/network.hpp"

namespace bitcluster {

/// Reads an ONNX file as exporters write it: constant sub-graphs and batch normalization are folded,
/// ReLU and Clip become the clamp of their producer, zero padding becomes part of its convolution, a final Softmax is
/// dropped, the batch dimension is ignored. Throws Error for an unreadable file and for anything unsupported, naming
/// node and operator.
Network import_onnx(const std::string& path);

/// The two halves of import_onnx: what one process has read can be imported by others. `path` is for messages and for
/// the network's name.
std::vector<std::byte> read_onnx(const std::string& path);
Network import_onnx(std::vector<std::byte> file, const std::string& path);

}  // namespace bitcluster
