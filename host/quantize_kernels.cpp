// Compiled once per instruction set: BITCLUSTER_KERNELS names the set (see CMakeLists.txt).

#include "host/cpu_kernels.hpp"
#include "host/quantize_search.hpp"

namespace bitcluster {
namespace {

double squared_error_of_block(const float* weights, int count, double scale, const double* nearest, int last) {
  const double per_scale = 1 / scale;
  double sums[sum_lanes] = {};
  const auto add = [&](int lane, float weight) __attribute__((always_inline)) {
    const double magnitude = __builtin_fabsf(weight);
    const double difference = magnitude - scale * nearest[search_place(magnitude * per_scale, last)];
    sums[lane] += difference * difference;
  };
  for (; count >= sum_lanes; count -= sum_lanes, weights += sum_lanes) {
    for (int lane = 0; lane < sum_lanes; ++lane) add(lane, weights[lane]);
  }
  for (int lane = 0; lane < count; ++lane) add(lane, weights[lane]);
  return sum_of_lanes(sums);
}

}  // namespace

#define BITCLUSTER_NAME_OF(prefix, set) prefix##set
#define BITCLUSTER_NAME(prefix, set) BITCLUSTER_NAME_OF(prefix, set)

void BITCLUSTER_NAME(add_quantize_kernels_, BITCLUSTER_KERNELS)(Kernels& kernels) {
  kernels.squared_error = squared_error_of_block;
}

}  // namespace bitcluster
