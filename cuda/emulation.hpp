#pragma once

#include <cstdint>
#include <memory>

#include "host/emulation/step_counter.hpp"

namespace bitcluster {

/// Walks on a GPU: every design but bit-parallel, Stripes and BitCluster, which need no walk; of Bit-Tactical what
/// follows its schedule; where columns run ahead of each other, not their clock. Tensors are copied there for every
/// walk; device memory is bounded by a small multiple of theirs. Calls must not overlap. Error if there is no such
/// device, in a walk also for lack of its memory. step_pixels: times of a step's pixels held at once, 4 bytes each.
std::unique_ptr<Walker> make_cuda_walker(int device = 0, std::int64_t step_pixels = std::int64_t(1) << 26);

}  // namespace bitcluster
