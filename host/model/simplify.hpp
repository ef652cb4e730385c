#pragma once

#include <vector>

#include "host/model/network.hpp"

namespace bitcluster {

/// Makes of a network with one layer per operation the network that is evaluated. Layers that `output` does not need
/// are dropped. Where it is the only consumer of its producer,
/// - a per-channel scale and shift (a 1x1 depthwise Convolution marked in `affine`, one flag per layer) is folded into
///   a Convolution without clamp, or else, where nothing else reads it, into a Convolution behind it,
/// - a clamp (Function identity) becomes the clamp of its producer, as do several that are all the same.
/// A scale and shift that stays and is the same for all channels becomes a Function: it has no weights to quantize.
/// A spatial zero padding (Rearrange) becomes part of the Convolutions behind it, if nothing else reads it. x times
/// hard_sigmoid(x) becomes hard_swish, x times (1 + erf(x / sqrt(2))) becomes gelu. Layers keep their order, `output`
/// becomes the last one.
Network simplify(Network network, int output, const std::vector<bool>& affine);

}  // namespace bitcluster
