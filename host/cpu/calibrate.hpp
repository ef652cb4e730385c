#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "host/inference/integer_network.hpp"

namespace bitcluster {

enum class CalibrationMethod { maximum, percentile, least_squares };

/// How several processes calibrate together, each on a part of the images: what they found becomes the largest, or the
/// sum, of all, element by element.
struct CalibrationShare {
  int first_image = 0;  //!< of this process
  std::function<void(std::span<double>)> largest;
  std::function<void(std::span<std::int64_t>)> sum;
};

/// Observes the float activations of calibration images, (count, h, w, c) after preprocessing, and chooses one scale
/// per tensor. Max pooling, rearranging and the like keep the format of their input. percentile is in (0, 100], used by
/// that method only. With a share, the images are this process's part, which may be empty.
Calibration calibrate(const Network& network, std::span<const float> images, int count, CalibrationMethod method,
                      double percentile = 99.99, const CalibrationShare* share = nullptr);

}  // namespace bitcluster
