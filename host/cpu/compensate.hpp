#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "host/cpu/kernels.hpp"
#include "host/weights/format.hpp"
#include "host/weights/input_gram.hpp"

namespace bitcluster {

/// Part of the mean of the Gram matrix's diagonal that is added to it (GPTQ, Frantar et al. 2022).
constexpr double gram_damping = 0.01;

/// Compensated rounding of the weights of one layer, after OBQ and GPTQ: weights are rounded one after the other, those
/// of the largest inputs first, and what rounding leaves of the output is made up for by those that follow. With the
/// damped Gram matrix of the inputs H = (I + V^T) D (I + V), V strictly lower triangular in the order of rounding, the
/// squared error of the output is the sum over t of D_t ((w - q)_t + sum over j < t of V_tj (w - q)_j)^2; each q_t
/// makes its own term as small as it can. All in double, in one order.
class CompensatedRounding {
 public:
  CompensatedRounding(const Kernels& kernels, const InputGram& gram);

  /// The filters [first, first + count) of a layer's `weights`. nearest: all of the layer's, rounded to the nearest.
  /// The scales are those or others of least error weighted with the diagonal, whichever leave the smaller error of
  /// the output; the bias takes up its mean. All filters at once where they share a scale.
  QuantizedWeights round(std::span<const float> weights, const QuantizedWeights& nearest,
                         std::span<const float> minimum_scales, int first, int count) const;

 private:
  /// The matrices of one block of inputs of one group.
  struct Factor {
    int start = 0, size = 0;
    std::vector<int> order;      // (size) input that is rounded as the t-th
    std::vector<double> matrix;  // (size, size): V below the diagonal, D on it; nothing of meaning above
  };
  struct Task;

  Factor factorize(const InputGram& gram, int group, int block) const;
  void round(const Task& task) const;
  std::vector<float> weighted_scales(std::span<const float> weights, const WeightFormat& format,
                                     std::span<const float> minimum_scales, int first, int count) const;

  const Kernels& kernels_;
  int inputs_, groups_;
  std::vector<Factor> factors_;      // (groups, blocks)
  std::vector<double> importances_;  // (groups, inputs): the diagonal
  std::vector<double> means_;        // (groups, inputs): mean of the inputs
};

}  // namespace bitcluster
