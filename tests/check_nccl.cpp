// Run under mpirun by CTest: the GPUs of the ranks, one each, joined by NCCL. Ends with 77, which CTest shows as
// skipped, where there are fewer GPUs than ranks. All ranks on one node. Built a second time with the ranks themselves
// as devices (tests/cuda_on_cpu).
#include <chrono>
#include <cstdio>

#include "cuda/device.hpp"
#include "cuda/nccl.hpp"
#include "harness/ranks/ranks.hpp"

using namespace bitcluster;

namespace {

constexpr int skipped = 77;

std::byte expected(std::size_t i, std::size_t size) { return std::byte((i * 2654435761u + size) >> 13); }

bool broadcast_is_right(const Ranks& ranks, NcclGroup& group, std::size_t size) {
  std::vector<std::byte> bytes(size, std::byte(0xee));
  if (ranks.root()) {
    for (std::size_t i = 0; i < size; ++i) bytes[i] = expected(i, size);
  }
  const auto start = std::chrono::steady_clock::now();
  group.broadcast(bytes);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  if (ranks.root()) std::printf("%zu bytes: %.2f GB/s\n", size, double(size) / seconds.count() * 1e-9);
  for (std::size_t i = 0; i < size; ++i) {
    if (bytes[i] != expected(i, size)) return false;
  }
  return true;
}

bool sums_are_right(const Ranks& ranks, NcclGroup& group) {
  constexpr std::int64_t large = std::int64_t(1) << 40;  // beyond what float and int32 hold
  std::vector<std::int64_t> counts(1000);
  for (int i = 0; i < 1000; ++i) counts[i] = large * (ranks.rank() + 1) - i;
  group.all_reduce(counts);
  const std::int64_t n = ranks.size();
  for (int i = 0; i < 1000; ++i) {
    if (counts[i] != large * n * (n + 1) / 2 - i * n) return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Ranks ranks(argc, argv);
  const DeviceReport report = find_devices();
  if (!NcclGroup::available() || int(report.devices.size()) < ranks.local_size()) {
    if (ranks.root()) {
      std::printf("skipped: %s\n", NcclGroup::available()
                                       ? ("there are " + std::to_string(report.devices.size()) + " GPUs for " +
                                          std::to_string(ranks.local_size()) + " ranks; " + report.reason)
                                             .c_str()
                                       : "built without NCCL");
    }
    return skipped;
  }
  try {
    NcclGroup::Id id{};
    ranks.on_root([&] { id = NcclGroup::make_id(); });
    ranks.broadcast(id);
    NcclGroup group(id, ranks.rank(), ranks.size(), ranks.local_rank());
    bool right = sums_are_right(ranks, group);
    // around the 16 MiB in which bytes travel, and through both buffers more than once
    constexpr std::size_t chunk = std::size_t(16) << 20;
    for (const std::size_t size : {std::size_t(0), std::size_t(1), chunk - 1, chunk, chunk + 1, 8 * chunk + 12345}) {
      right = broadcast_is_right(ranks, group, size) && right;
    }
    return right ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rank %d: %s\n", ranks.rank(), error.what());
    ranks.abort();
  }
}
