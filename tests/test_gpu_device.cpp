#include <gtest/gtest.h>

#include "cuda/device.hpp"

namespace bitcluster {
namespace {

/// Every test of this file needs a GPU; without one it is skipped with the reason.
class Gpu : public testing::Test {
 protected:
  void SetUp() override {
    report_ = find_devices();
    if (report_.devices.empty()) GTEST_SKIP() << "no GPU: " << report_.reason;
  }
  DeviceReport report_;
};

TEST_F(Gpu, IsNamedWithItsComputeCapability) {
  for (const std::string& device : report_.devices) {
    EXPECT_NE(device.find("compute capability"), std::string::npos) << device;
  }
}

}  // namespace
}  // namespace bitcluster
