#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace bitcluster {

/// The GPUs of all ranks, one each, joined by NCCL. All calls but the first two are collective and blocking; Error if
/// NCCL or CUDA reports a failure, also one of another rank. Without NCCL in the build there is only a stub that says
/// so.
class NcclGroup {
 public:
  using Id = std::array<std::byte, 128>;

  static bool available();  //!< in this build
  /// Made on one rank and given to the others by other means.
  static Id make_id();

  NcclGroup(const Id& id, int rank, int size, int device);
  ~NcclGroup();

  /// Gives the bytes of rank 0, in host memory, to all ranks.
  void broadcast(std::span<std::byte> bytes);

  /// Sums over the ranks, element by element, on all of them.
  void all_reduce(std::span<std::int64_t> counts);

 private:
  struct Members;
  std::unique_ptr<Members> members_;
};

}  // namespace bitcluster
