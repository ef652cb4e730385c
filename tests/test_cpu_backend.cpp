#include "host/cpu/backend.hpp"
#include "tests/backend_suite.hpp"

namespace bitcluster {
namespace {

TEST(CpuBackend, KnowsItsInstructionSets) {
  EXPECT_THROW(make_cpu_backend("mmx"), Error);
  EXPECT_NE(make_cpu_backend()->description().find("cpu ("), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Sets, BackendTest, instruction_sets, name_of);

}  // namespace
}  // namespace bitcluster
