#include "harness/ranks/devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <set>

#include "cuda/backend.hpp"
#include "cuda/device.hpp"
#include "cuda/emulation.hpp"
#include "host/base/error.hpp"
#include "host/cpu/backend.hpp"

namespace bitcluster {
namespace {

/// The ids of the GPUs that each rank of this node sees.
std::vector<std::vector<std::string>> gather_ids(const Ranks& ranks, const std::vector<std::string>& ids) {
  std::vector<std::vector<std::string>> visible;
  std::string joined;
  for (const std::string& id : ids) joined += id;
  for (const std::string& of_rank : ranks.gather_on_node(joined)) {
    visible.emplace_back();
    for (std::size_t i = 0; i < of_rank.size(); i += device_id_size) {
      visible.back().push_back(of_rank.substr(i, device_id_size));
    }
  }
  return visible;
}

using Backends = std::vector<std::unique_ptr<Backend>>;

/// The backends of this rank's GPU. Without one on every rank of the node there are none, and `choice` says why.
Backends make_node_backends(const Ranks& ranks, DeviceChoice& choice, int networks) {
  Backends backends;
  try {
    while (choice.device >= 0 && int(backends.size()) < networks) {
      backends.push_back(make_cuda_backend(choice.device, 1.0 / networks));
    }
  } catch (const Error& error) {
    choice = {-1, error.what(), "use --backend cpu"};
  }
  const auto whys = ranks.gather_on_node(choice.why), cures = ranks.gather_on_node(choice.what_to_do);
  for (std::size_t rank = 0; rank < whys.size(); ++rank) {
    if (whys[rank].empty()) continue;
    choice = {-1, whys[rank], cures[rank]};
    return {};
  }
  return backends;
}

Backends make_cpu_backends(int networks) {
  Backends backends;
  while (int(backends.size()) < networks) backends.push_back(make_cpu_backend());
  return backends;
}

/// Whether some rank's machine has a GPU, usable or not: the file is of NVIDIA's kernel driver.
bool is_gpu_expected(const Ranks& ranks, const DeviceReport& report) {
  const bool here = !report.ids.empty() || std::filesystem::exists("/proc/driver/nvidia/version");
  std::int64_t machines[] = {here};
  ranks.sum(machines);
  return machines[0] > 0;
}

std::unique_ptr<NcclGroup> join_gpus(const Ranks& ranks, int device) {
  NcclGroup::Id id{};
  ranks.on_root([&] { id = NcclGroup::make_id(); });
  ranks.broadcast(id);
  return std::make_unique<NcclGroup>(id, ranks.rank(), ranks.size(), device);
}

}  // namespace

DeviceChoice choose_device(const std::vector<std::vector<std::string>>& visible, int local_rank,
                           const std::string& reason) {
  if (visible[local_rank].empty()) return {-1, reason, "use --backend cpu, or a machine with a GPU"};
  std::set<std::string> all, taken;
  DeviceChoice mine;
  for (int rank = 0; rank < int(visible.size()); ++rank) {
    all.insert(visible[rank].begin(), visible[rank].end());
    const auto free = std::find_if(visible[rank].begin(), visible[rank].end(),
                                   [&](const std::string& id) { return !taken.contains(id); });
    if (free == visible[rank].end()) continue;
    taken.insert(*free);
    if (rank == local_rank) mine.device = int(free - visible[rank].begin());
  }
  if (taken.size() == visible.size()) return mine;
  const std::string gpus = fmt::format("{} GPU{}", all.size(), all.size() == 1 ? "" : "s");
  return {-1, fmt::format("there are {} ranks on this node for {}", visible.size(), gpus),
          fmt::format("start at most {} on a node, or use --backend cpu", taken.size())};
}

Devices make_devices(const Ranks& ranks, const std::string& choice, int networks) {
  if (choice == "cpu") return {make_cpu_backends(networks), nullptr, nullptr};
  const DeviceReport report = find_devices();
  DeviceChoice mine = choose_device(gather_ids(ranks, report.ids), ranks.local_rank(), report.reason);
  Devices devices{make_node_backends(ranks, mine, networks), nullptr, nullptr};
  if (!devices.backends.empty()) devices.step_counter = make_cuda_step_counter(mine.device);

  const auto whys = ranks.gather(mine.why), cures = ranks.gather(mine.what_to_do), hosts = ranks.gather(ranks.host());
  const auto without = std::find_if(whys.begin(), whys.end(), [](const std::string& why) { return !why.empty(); });
  if (without == whys.end()) {
    if (ranks.size() > 1 && NcclGroup::available()) devices.gpus = join_gpus(ranks, mine.device);
    return devices;
  }
  const std::string where = ranks.local_size() < ranks.size() ? hosts[without - whys.begin()] + ": " : "";
  if (choice == "cuda") throw Error("--backend cuda is not possible", where + *without, cures[without - whys.begin()]);
  if (is_gpu_expected(ranks, report) && ranks.root()) {
    const auto count = std::count_if(whys.begin(), whys.end(), [](const std::string& why) { return !why.empty(); });
    const std::string who = count == ranks.size() ? "" : fmt::format(" by {} ranks", count);
    fmt::print(stderr, "bitcluster: no GPU is used{}: {}{}; networks are evaluated on the CPU\n", who, where, *without);
  }
  if (devices.backends.empty()) devices.backends = make_cpu_backends(networks);
  return devices;
}

}  // namespace bitcluster
