// Compiled once per instruction set: BITCLUSTER_KERNELS names the set (see CMakeLists.txt).

#include "host/cpu/kernels.hpp"
#include "host/weights/scale_search.hpp"

namespace bitcluster {
namespace {

double squared_error_of_block(const float* weights, int count, double scale, const double* nearest, int last) {
  const float halves = halves_per_scale(scale);
  int places[block_weights];
  double errors[block_weights];
  for (int i = 0; i < count; ++i) places[i] = search_place(__builtin_fabsf(weights[i]), halves, last);
  for (int i = 0; i < count; ++i) {
    const double difference = __builtin_fabsf(weights[i]) - scale * nearest[places[i]];
    errors[i] = difference * difference;
  }
  double sums[sum_lanes] = {};
  int i = 0;
  for (; i + sum_lanes <= count; i += sum_lanes) {
    for (int lane = 0; lane < sum_lanes; ++lane) sums[lane] += errors[i + lane];
  }
  for (int lane = 0; i + lane < count; ++lane) sums[lane] += errors[i + lane];
  return sum_of_lanes(sums);
}

}  // namespace

void BITCLUSTER_NAME(add_quantize_kernels_, BITCLUSTER_KERNELS)(Kernels& kernels) {
  kernels.squared_error = squared_error_of_block;
}

}  // namespace bitcluster
