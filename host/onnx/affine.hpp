#pragma once

#include <vector>

#include "host/onnx/importer.hpp"

namespace bitcluster {

/// scale * x + shift, each given with the extents `dims`, which broadcast to those of the tensor and must not differ
/// inside a channel of the layer behind it. A layer that simplify() folds where it can.
ImportedTensor scale_and_shift(Importer& importer, const Node& node, ImportedTensor& input, const Dims& dims,
                               const std::vector<double>& scale, const std::vector<double>& shift);

/// The same scale and shift for all elements.
ImportedTensor scale_and_shift(Importer& importer, const Node& node, ImportedTensor& input, double scale, double shift);

/// A constant as a tensor of layers that does not depend on the image: zeros, to which its values are added. Axis 0 of
/// the constant must be 1, or the batch with the same for every image.
ImportedTensor constant_tensor(Importer& importer, const Node& node, const Constant& constant);

/// Sum (Add) or product (Multiply) of two tensors, broadcast to the shape that they have together.
ImportedTensor combine(Importer& importer, const Node& node, const Operation& operation, ImportedTensor& a,
                       ImportedTensor& b);

}  // namespace bitcluster
