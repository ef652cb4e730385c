#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cuda/nccl.hpp"
#include "harness/ranks/ranks.hpp"
#include "host/emulation/step_counter.hpp"
#include "host/inference/backend.hpp"

namespace bitcluster {

/// The GPU of one rank, or why it has none.
struct DeviceChoice {
  int device = -1;  //!< index among those that the rank sees; -1: none
  std::string why, what_to_do;
};

/// Deals the GPUs of a node to its ranks, one each: a rank gets the first that it sees and no lower rank has, so rank i
/// gets GPU i where all see the same, and its own where a batch system gives each rank another. If that does not serve
/// every rank, no rank of the node gets one.
/// visible: ids of the GPUs that each rank of the node sees, (ranks)(GPUs); reason: why this rank sees none.
DeviceChoice choose_device(const std::vector<std::vector<std::string>>& visible, int local_rank,
                           const std::string& reason);

/// What evaluates networks on this rank, and what joins the GPUs of the ranks.
struct Devices {
  std::vector<std::unique_ptr<Backend>> backends;  //!< one for every network that is loaded at once
  std::unique_ptr<StepCounter> step_counter;       //!< the emulator's on this rank's GPU; null without one
  std::unique_ptr<NcclGroup> gpus;  //!< null with a single rank, with a rank that uses the CPU, without NCCL
};

/// Collective. choice: "cpu"; "cuda": Error on all ranks if one of them gets no GPU; "auto": the CPU on nodes where not
/// every rank gets one, and the root says why on stderr. networks: that are loaded at once.
Devices make_devices(const Ranks& ranks, const std::string& choice, int networks = 1);

}  // namespace bitcluster
