#include <algorithm>
#include <bit>

#include "host/emulation/design.hpp"
#include "host/emulation/pending_terms.hpp"
#include "host/emulation/vectorised.hpp"

namespace bitcluster {
namespace {

// Laconic (Sharify et al., ISCA 2019)

struct PairTimes {
  std::int32_t longest[operand_padding] = {};
  std::int32_t sum[operand_padding] = {};
  std::int32_t zeros[operand_padding] = {};
};

/// Longest lane of every row x column, over `operand_padding` columns. Counts stay below 17, so products fit.
BITCLUSTER_VECTORISED
void add_pair_times(const StepView& step, int first_column, PairTimes& times) {
  for (int r = 0; r < step.rows; ++r) {
    const std::uint16_t* weights = step.weights + r * step.row_stride;
    const std::uint16_t* activations = step.activations + first_column;
    std::int16_t longest[operand_padding] = {};
    for (int l = 0; l < step.lanes; ++l, activations += step.lane_stride) {
      const std::int16_t weight = std::int16_t(weights[l]);
      for (int c = 0; c < operand_padding; ++c) {
        const std::int16_t product = std::int16_t(weight * std::int16_t(activations[c]));
        longest[c] = std::max(longest[c], product);
      }
    }
    for (int c = 0; c < operand_padding; ++c) {
      times.longest[c] = std::max<std::int32_t>(times.longest[c], longest[c]);
      times.sum[c] += longest[c];
      times.zeros[c] += longest[c] == 0;
    }
  }
}

/// Terms of weights times terms of activations, all lanes of the chip in lockstep.
StepCost laconic_step(const StepView& step) {
  StepCost cost;
  for (int first = 0; first < step.columns; first += operand_padding) {
    PairTimes times;
    add_pair_times(step, first, times);
    for (int c = 0; c < std::min(operand_padding, step.columns - first); ++c) {
      cost.cycles = std::max<std::int64_t>(cost.cycles, times.longest[c]);
      cost.element_cycles += times.sum[c] + times.zeros[c];
      cost.null_term += std::int64_t(times.zeros[c]) * step.lanes;
    }
  }
  for (int l = 0; l < step.lanes; ++l) {
    std::int64_t weight_terms = 0, activation_terms = 0;
    for (int r = 0; r < step.rows; ++r) weight_terms += step.weights[r * step.row_stride + l];
    for (int c = 0; c < step.columns; ++c) activation_terms += step.activations[l * step.lane_stride + c];
    cost.useful += weight_terms * activation_terms;
  }
  return cost;
}

DesignRule rule(const Accelerator& accelerator, const LayerTensors&) {
  return PairRule{term_counts(accelerator.encoding), laconic_step};
}

/// One pair of terms per lane and cycle, as the sum of their exponents.
int add_brick(Encoding encoding, const std::int16_t* weights, const std::int16_t* activations, int lanes,
              std::int64_t& sum) {
  int longest = 1;
  for (int l = 0; l < lanes; ++l) {
    int cycles = 0;
    for (PendingTerms weight(encoding, weights[l]); weight.positions();) {
      const std::uint32_t weight_term = weight.lowest();
      const int weight_sign = weight.take(weight_term);
      for (PendingTerms activation(encoding, activations[l]); activation.positions(); ++cycles) {
        const std::uint32_t term = activation.lowest();
        sum +=
            weight_sign * activation.take(term) * power_of_two(std::countr_zero(weight_term) + std::countr_zero(term));
      }
    }
    longest = std::max(longest, cycles);
  }
  return longest;
}

BrickArithmetic arithmetic(const Accelerator& accelerator, const LayerTensors&) {
  return [encoding = accelerator.encoding](auto&&... brick) { return add_brick(encoding, brick...); };
}

}  // namespace

extern constinit const DesignInfo laconic_design = {.name = "laconic",
                                                    .keys = {"encoding"},
                                                    .activations = ActivationUse::cycles,
                                                    .relative_cost = 10,
                                                    .dense_cycles = [](const Accelerator&) { return 8 * 8; },
                                                    .rule = rule,
                                                    .arithmetic = arithmetic};

}  // namespace bitcluster
