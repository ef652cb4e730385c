#pragma once

#include "host/onnx/node.hpp"

namespace bitcluster {

/// For operators on activations that are not supported, and of which it is known what would do instead: throws the
/// Error that says so. Returns for all others.
void refuse_by_name(const Node& node);

}  // namespace bitcluster
