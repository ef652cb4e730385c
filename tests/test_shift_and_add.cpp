#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string_view>
#include <vector>

#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "host/emulation/shift_and_add.hpp"
#include "tests/expect_message.hpp"
#include "tests/random_layer.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

std::vector<std::int64_t> convolve(const TestLayer& layer) {
  const LayerGeometry& g = layer.geometry;
  const Window& w = g.window;
  const int per_group = g.input.channels / g.groups;
  std::vector<std::int64_t> sums(g.output.size(), 0);
  std::size_t out = 0;
  for (int f = 0; f < g.filters; ++f)
    for (int oy = 0; oy < g.output.height; ++oy)
      for (int ox = 0; ox < g.output.width; ++ox, ++out)
        for (int c = 0; c < per_group; ++c)
          for (int ky = 0; ky < w.kernel_h; ++ky)
            for (int kx = 0; kx < w.kernel_w; ++kx) {
              const int y = oy * w.stride_h + ky * w.dilation_h - w.pad_top;
              const int x = ox * w.stride_w + kx * w.dilation_w - w.pad_left;
              if (y < 0 || x < 0 || y >= g.input.height || x >= g.input.width) continue;
              const int channel = f / (g.filters / g.groups) * per_group + c;
              sums[out] += std::int64_t(layer.weights[((f * per_group + c) * w.kernel_h + ky) * w.kernel_w + kx]) *
                           layer.activations[(channel * g.input.height + y) * g.input.width + x];
            }
  return sums;
}

class Functional : public testing::TestWithParam<std::string_view> {};

TEST_P(Functional, GivesTheConvolutionAndTheCycles) {
  std::mt19937 random(11);
  for (int repeat = 0; repeat < 80; ++repeat) {
    SCOPED_TRACE(repeat);
    const TestLayer layer = random_layer(random);
    Accelerator accelerator = random_array(random, GetParam());
    if (accelerator.design->has("column_registers")) accelerator.column_registers = repeat % 3;
    const LayerFunction function = emulate_function(accelerator, layer.tensors());
    const std::vector<std::int64_t> expected = convolve(layer);
    ASSERT_TRUE(std::equal(function.sums.begin(), function.sums.end(), expected.begin(), expected.end()));
    ASSERT_EQ(convolve(layer.tensors()), function.sums);
    ASSERT_EQ(function.compute_cycles, emulate(accelerator, layer.tensors()).compute_cycles);
  }
}

std::vector<std::string_view> with_arithmetic() {
  std::vector<std::string_view> names;
  for (const DesignInfo* design : designs()) {
    if (design->arithmetic) names.push_back(design->name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Designs, Functional, testing::ValuesIn(with_arithmetic()),
                         [](const auto& info) { return camel_case(info.param); });

TEST(FunctionalErrors, OnlyBitParallelHasNoArithmetic) { EXPECT_EQ(with_arithmetic().size() + 1, designs().size()); }

TEST(FunctionalErrors, RejectsDesignsWithoutArithmeticAndOverflow) {
  TestLayer layer = make_layer(1, {3, 1, 1});
  EXPECT_NE(message_of([&] { emulate_function(array("bit_parallel", 4, 4, 1), layer.tensors()); }).find("arithmetic"),
            std::string::npos);
  layer.weights.assign(3, 32767);
  layer.activations.assign(3, 32767);
  EXPECT_NE(message_of([&] { emulate_function(array("pragmatic_weights", 4, 4, 1), layer.tensors()); }).find("int32"),
            std::string::npos);
  layer.activations.clear();
  EXPECT_NE(
      message_of([&] { emulate_function(array("pragmatic_weights", 4, 4, 1), layer.tensors()); }).find("activations"),
      std::string::npos);
}

}  // namespace
}  // namespace bitcluster
