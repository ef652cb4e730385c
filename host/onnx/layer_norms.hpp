#pragma once

namespace onnx {
class GraphProto;
}

namespace bitcluster {

/// Exporters before opset 17 wrote a layer normalization as (x - mean) / sqrt(mean of squares + epsilon). Its last node
/// becomes a LayerNormalization without scale and shift, whose attribute `axes`, which the operator itself does not
/// have, names the one axis that it normalizes. The other nodes stay, for whatever else reads them.
void recognize_layer_norms(onnx::GraphProto& graph);

}  // namespace bitcluster
