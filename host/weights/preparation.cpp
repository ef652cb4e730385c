#include "host/weights/preparation.hpp"

namespace bitcluster {

extern const Preparation bitpruner_weights;

std::span<const Preparation* const> preparations() {
  static constexpr const Preparation* all[] = {&plain_weights, &bitcluster_weights, &bitpruner_weights};
  return all;
}

}  // namespace bitcluster
