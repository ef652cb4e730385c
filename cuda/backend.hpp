#pragma once

#include <memory>

#include "host/inference/backend.hpp"

namespace bitcluster {

/// Evaluates on one GPU, with the bits of the CPU backend. Error if there is no such device, or later if a network does
/// not fit its free memory. Not to be used by several threads at once. share: of the memory that is free now, for this
/// one of several backends.
std::unique_ptr<Backend> make_cuda_backend(int device, double share = 1);

}  // namespace bitcluster
