#include "tests/gpu_fixture.hpp"

namespace bitcluster {
namespace {

TEST_F(Gpu, IsNamedWithItsComputeCapability) {
  for (const std::string& device : report_.devices) {
    EXPECT_NE(device.find("compute capability"), std::string::npos) << device;
  }
}

}  // namespace
}  // namespace bitcluster
