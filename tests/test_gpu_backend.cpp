#include "cuda/backend.hpp"
#include "cuda/device.hpp"
#include "tests/backend_suite.hpp"
#include "tests/convolution_suite.hpp"

namespace bitcluster {
namespace {

std::unique_ptr<Backend> make_first_gpu(const char*, std::string& why_not) {
  const DeviceReport report = find_devices();
  if (!report.devices.empty()) return make_cuda_backend(0);
  why_not = "no GPU: " + report.reason;
  return nullptr;
}
const auto gpu = testing::Values(TestedBackend{"cuda", make_first_gpu});

INSTANTIATE_TEST_SUITE_P(Gpu, BackendTest, gpu, name_of);
INSTANTIATE_TEST_SUITE_P(Gpu, ConvolutionTest, gpu, name_of);

TEST(CudaBackend, RefusesDevicesThatAreNotThere) {
  EXPECT_THROW(make_cuda_backend(-1), Error);
  EXPECT_THROW(make_cuda_backend(1000), Error);
}

}  // namespace
}  // namespace bitcluster
