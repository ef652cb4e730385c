#include <gtest/gtest.h>

#include "cuda/device.hpp"

namespace bitcluster {
namespace {

TEST(Device, SaysWhyThereIsNone) {
  const DeviceReport report = find_devices();
  EXPECT_EQ(report.devices.empty(), !report.reason.empty());
}

}  // namespace
}  // namespace bitcluster
