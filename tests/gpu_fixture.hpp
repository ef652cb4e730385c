#pragma once

#include <gtest/gtest.h>

#include "cuda/device.hpp"

namespace bitcluster {

/// Tests of this fixture run on the first GPU and are skipped, with the reason, where there is none. The same tests are
/// built a second time with the kernels running on the CPU (tests/cuda_on_cpu).
class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    report_ = find_devices();
    if (report_.devices.empty()) GTEST_SKIP() << "no GPU: " << report_.reason;
  }
  DeviceReport report_;
};

}  // namespace bitcluster
