#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "host/model/network.hpp"

namespace bitcluster {

/// Reads an ONNX file as exporters write it: constant sub-graphs and batch normalization are folded,
/// ReLU and Clip become the clamp of their producer, zero padding becomes part of its convolution, a final Softmax is
/// dropped, the batch dimension is ignored. Of QuantizeLinear and DequantizeLinear on activations the saturation stays.
/// External data is read from files in the folder of the model, nowhere else. Throws Error for an unreadable file, for
/// anything unsupported, naming node and operator, and where a small file would take much time or memory.
Network import_onnx(const std::string& path);

/// The files beside a model that hold data of its tensors, each once. Error as in import_onnx() if one is not there.
std::vector<std::string> external_files(const std::string& path);

/// The two halves of import_onnx: what one process has read, with its external data, can be imported by others. `path`
/// is for messages and for the network's name.
std::vector<std::byte> read_onnx(const std::string& path);
Network import_onnx(std::vector<std::byte> file, const std::string& path);

}  // namespace bitcluster
