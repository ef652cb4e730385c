#pragma once

#include <cstddef>
#include <string>

namespace onnx {
class ModelProto;
}  // namespace onnx

namespace bitcluster {

/// Reads a serialized model. Error for what is none; `path` is for the message.
void parse_model(const void* bytes, std::size_t size, const std::string& path, onnx::ModelProto& model);

}  // namespace bitcluster
