#include "cuda/nccl.hpp"
#include "host/base/error.hpp"

namespace bitcluster {
namespace {

[[noreturn]] void fail() {
  throw Error("ranks cannot talk through their GPUs", "this program was built without NCCL (CMake did not find it)",
              "use MPI, or build again where nccl.h and libnccl are");
}

}  // namespace

struct NcclGroup::Members {};

bool NcclGroup::available() { return false; }
NcclGroup::Id NcclGroup::make_id() { fail(); }
NcclGroup::NcclGroup(const Id&, int, int, int) { fail(); }
NcclGroup::~NcclGroup() = default;
void NcclGroup::broadcast(std::span<std::byte>) { fail(); }
void NcclGroup::all_reduce(std::span<std::int64_t>) { fail(); }

}  // namespace bitcluster
