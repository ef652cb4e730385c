#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "harness/journal/content_keys.hpp"
#include "harness/study/candidate_weights.hpp"
#include "harness/study/emulation_list.hpp"
#include "host/data/dataset.hpp"
#include "host/emulation/step_counter.hpp"

namespace bitcluster {

/// Emulates layers of one model, on the activations that the integer network has for some images.
class ModelEmulator {
 public:
  /// images: those whose activations are looked at; null where no task does.
  ModelEmulator(const CandidateWeights& weights, std::shared_ptr<const Images> images);

  /// Activations are those of one image at a time: consecutive tasks on one image share them.
  LayerEmulation emulate(const EmulationTask& task, StepCounter* step_counter);

  /// Names the result by everything that decides it.
  Key key(const EmulationTask& task, KeyCache& keys) const;

 private:
  const CandidateWeights& weights_;
  std::shared_ptr<const Images> images_;
  std::vector<Key> image_keys_;
  int observed_ = -1;                              // image
  std::vector<std::vector<std::int16_t>> inputs_;  // of that image and every layer with weights, (c, h, w)
};

}  // namespace bitcluster
