#include <set>

#include "tests/gpu_fixture.hpp"

namespace bitcluster {
namespace {

TEST_F(Gpu, IsNamedWithItsComputeCapability) {
  for (const std::string& device : report_.devices) {
    EXPECT_NE(device.find("compute capability"), std::string::npos) << device;
  }
}

TEST_F(Gpu, HasAnIdOfItsOwn) {
  EXPECT_EQ(report_.ids.size(), report_.devices.size());
  EXPECT_EQ(std::set<std::string>(report_.ids.begin(), report_.ids.end()).size(), report_.devices.size());
}

}  // namespace
}  // namespace bitcluster
