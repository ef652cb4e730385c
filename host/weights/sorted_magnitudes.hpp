#pragma once

#include <span>
#include <vector>

#include "host/weights/scale_search.hpp"

namespace bitcluster {

/// Weights that share a scale, sorted by magnitude, with running sums: the weighted squared error of rounding all of
/// them at a scale takes one look-up per allowed magnitude.
class SortedMagnitudes {
 public:
  /// importance: (weights) what the squared error of each counts.
  SortedMagnitudes(std::span<const float> weights, std::span<const double> importance);

  /// The scale of least error for a format's tables, at least `minimum`, among the same candidates as quantize()'s.
  float best_scale(const ScaleSearch& search, float minimum) const;

 private:
  /// Where rounding steps up to the next allowed magnitude.
  struct Step {
    double threshold;          //!< in units of the scale
    double rise, square_rise;  //!< of the magnitude and of its square
  };
  /// Importance-weighted sums of weight x magnitude and magnitude^2.
  struct Sums {
    double product = 0, square = 0;
  };

  static std::vector<Step> steps_of(const RoundingTable& table);
  Sums sums(double scale, const std::vector<Step>& steps) const;
  double error(double scale, const Sums& sums) const;
  float best_scale(const ScaleSearch& search, const RoundingTable& table, float minimum, float other) const;

  std::vector<float> magnitudes_;               // rising
  std::vector<double> importances_, products_;  // sums over this and all larger weights; one more entry, 0
  double squares_ = 0;
};

}  // namespace bitcluster
