#include "tests/convolution_suite.hpp"

namespace bitcluster {

INSTANTIATE_TEST_SUITE_P(Sets, ConvolutionTest, instruction_sets, name_of);

}  // namespace bitcluster
