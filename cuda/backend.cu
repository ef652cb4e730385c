#include "cuda/backend.hpp"
#include "host/error.hpp"

namespace bitcluster {

std::unique_ptr<Backend> make_cuda_backend(int device) {
  throw Error("GPU " + std::to_string(device) + " is not used", "this version evaluates networks on the CPU only",
              "use --backend cpu");
}

}  // namespace bitcluster
