#include <gtest/gtest.h>

#include "host/cpu/float_network.hpp"
#include "tests/naive_function.hpp"

namespace bitcluster {
namespace {

// Sums and products of small integers, so every value is exact in float32.
TEST(FloatNetwork, ConvolutionPoolAndFullyConnectedByHand) {
  Network network;
  network.layers.push_back({"input", Input{}, {}, {1, 2, 2}});
  Convolution edge;
  edge.window = {.kernel_h = 1, .kernel_w = 2, .pad_right = 1};
  edge.filters = 2;
  edge.weights = {1, 1, 0, -1};
  edge.bias = {0, 1};
  network.layers.push_back({"edge", edge, {0}, {2, 2, 2}, 0});  // ReLU
  network.layers.push_back({"pool", Pool{Pool::Kind::max, {.kernel_h = 2, .kernel_w = 2}}, {1}, {2, 1, 1}});
  Convolution classifier;
  classifier.filters = 1;
  classifier.fully_connected = true;
  classifier.weights = {2, 3};
  classifier.bias = {-1};
  network.layers.push_back({"classifier", classifier, {2}, {1, 1, 1}});
  // image 1 2 / 3 4: filter 0 gives 3 2 / 7 4 -> 7; filter 1 gives 1-2=-1 -> 0, 1 / 1-4=-3 -> 0, 1 -> 1
  const std::vector<float> image = {1, 2, 3, 4};
  EXPECT_EQ(run_float(network, image, 1), (std::vector<float>{2 * 7 + 3 * 1 - 1}));
}

// clang's UBSan fails it where multipliers are looked for with an offset, that of the second group: floats have none.
TEST(FloatNetwork, GroupsByHand) {
  Network network;
  network.layers.push_back({"input", Input{}, {}, {4, 1, 1}});
  Convolution halves;
  halves.filters = 2;
  halves.groups = 2;
  halves.weights = {1, 2, 3, 4};
  halves.bias = {5, 6};
  network.layers.push_back({"halves", halves, {0}, {2, 1, 1}});
  const std::vector<float> image = {1, 2, 3, 4};
  EXPECT_EQ(run_float(network, image, 1), (std::vector<float>{1 * 1 + 2 * 2 + 5, 3 * 3 + 4 * 4 + 6}));
}

TEST(FloatNetwork, AverageCountsPaddingOnlyWhenAsked) {
  Network network;
  network.layers.push_back({"input", Input{}, {}, {1, 1, 3}});
  Pool pool{Pool::Kind::average, {.kernel_w = 2, .stride_w = 2, .pad_left = 1}, false};
  network.layers.push_back({"pool", pool, {0}, {1, 1, 2}});
  const std::vector<float> image = {4, 6, 8};
  EXPECT_EQ(run_float(network, image, 1), (std::vector<float>{4, 7}));
  std::get<Pool>(network.layers[1].operation).count_padding = true;
  EXPECT_EQ(run_float(network, image, 1), (std::vector<float>{2, 7}));
}

// 16 ulp of values up to 3: both sides round float32 a few times, some definitions cancel near 0.
TEST(FloatNetwork, FunctionsEqualTheirDefinitions) {
  std::vector<float> values;
  for (int i = -24; i <= 24; ++i) values.push_back(float(i) / 8);
  for (const Function::Kind kind : function_kinds) {
    const Function function{kind, 0.75f, 0.5f};
    Network network;
    const Shape shape{int(values.size()), 1, 1};
    network.layers.push_back({"input", Input{}, {}, shape});
    network.layers.push_back({"function", function, {0}, shape});
    const std::vector<float> found = run_float(network, values, 1);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(found[i], naive_function<double>(function, values[i]), 4e-6) << int(kind) << " of " << values[i];
    }
  }
}

}  // namespace
}  // namespace bitcluster
