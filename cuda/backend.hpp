#pragma once

#include <memory>

#include "host/backend.hpp"

namespace bitcluster {

/// The backend of one GPU. Error if that device cannot be used.
std::unique_ptr<Backend> make_cuda_backend(int device);

}  // namespace bitcluster
