#pragma once

#include <cstdint>
#include <memory>

#include "host/emulation/step_counter.hpp"

namespace bitcluster {

/// Counts on a GPU: every design but those of a FixedRule, whose values need no look; of Bit-Tactical what follows its
/// schedule; where columns run ahead of each other, not their clock. Tensors are copied there for every layer; device
/// memory is bounded by a small multiple of theirs. Calls must not overlap. Error if there is no such device, in a call
/// also for lack of its memory. step_pixels: times of a step's pixels held at once, 4 bytes each.
std::unique_ptr<StepCounter> make_cuda_step_counter(int device = 0, std::int64_t step_pixels = std::int64_t(1) << 26);

}  // namespace bitcluster
