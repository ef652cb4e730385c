#include "host/cpu/backend.hpp"
#include "host/cpu/kernels.hpp"
#include "host/cpu/quantize.hpp"
#include "tests/backend_suite.hpp"

namespace bitcluster {
namespace {

TEST(CpuBackend, KnowsItsInstructionSets) {
  EXPECT_THROW(make_cpu_backend("mmx"), Error);
  EXPECT_NE(make_cpu_backend()->description().find("cpu ("), std::string::npos);
}

int calls_of_portable = 0;

TEST(CpuBackend, QuantizesWithItsOwnKernels) {
  const Kernels& portable = *find_kernels("portable");
  Kernels counting = portable;
  counting.squared_error = [](const float* weights, int count, double scale, const double* nearest, int last) {
    ++calls_of_portable;
    return find_kernels("portable")->squared_error(weights, count, scale, nearest, last);
  };
  const std::vector<float> weights = {0.5f, -0.25f, 0.75f, 1};
  const QuantizedWeights found = make_cpu_backend(counting)->quantize(weights, 2, bitcluster_format(1), {});
  EXPECT_GT(calls_of_portable, 0);
  const QuantizedWeights expected = quantize(weights, 2, bitcluster_format(1));
  EXPECT_EQ(found.values, expected.values);
  EXPECT_EQ(found.scales, expected.scales);
}

INSTANTIATE_TEST_SUITE_P(Sets, BackendTest, instruction_sets, name_of);

}  // namespace
}  // namespace bitcluster
