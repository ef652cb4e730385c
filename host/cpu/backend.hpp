#pragma once

#include <memory>
#include <string>

#include "host/inference/backend.hpp"

namespace bitcluster {

struct Kernels;

/// The CPU backend, with the fastest exact kernels that this processor has. `instruction_set` forces one for tests:
/// "portable", "avx2", "avx512-vnni"; Error if the processor lacks it.
std::unique_ptr<Backend> make_cpu_backend(const std::string& instruction_set = "");

/// The same with these kernels, which must outlive it.
std::unique_ptr<Backend> make_cpu_backend(const Kernels& kernels);

}  // namespace bitcluster
