#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "host/inference/integer_network.hpp"

namespace bitcluster {

/// model: the scales of the model's own quantizers where their integers fit the grid of 8 bits around 0, least squares
/// elsewhere.
enum class CalibrationMethod { maximum, percentile, least_squares, model };

/// How several processes calibrate together, each on a part of the images: what they found becomes the largest, or the
/// sum, of all, element by element.
struct CalibrationShare {
  int first_image = 0;  //!< of this process
  std::function<void(std::span<double>)> largest;
  std::function<void(std::span<std::int64_t>)> sum;
};

/// Observes the float activations of calibration images, (count, h, w, c) after preprocessing, and chooses one scale
/// per tensor. Max pooling, rearranging and the like keep the format of their input. percentile is in (0, 100], used by
/// that method only. With a share, the images are this process's part, which may be empty. Error for the method model
/// where no scale of the model's fits.
Calibration calibrate(const Network& network, std::span<const float> images, int count, CalibrationMethod method,
                      double percentile = 99.99, const CalibrationShare* share = nullptr);

/// Which layers round to a grid of their own (inputs, what keeps the format of its input, and logits do not), and
/// which of them have the scale of the model's own quantizer.
struct OwnScales {
  std::vector<int> own, others;  //!< layers
};
OwnScales own_scales(const Network& network, const Calibration& calibration);

}  // namespace bitcluster
