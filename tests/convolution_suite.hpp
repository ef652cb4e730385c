#pragma once

// Convolutions against the naive reference, for every backend: see test_packed_convolution.cpp, test_gpu_backend.cpp.

#include "tests/backend_fixture.hpp"

namespace bitcluster {
struct ConvolutionCase {
  std::string what;
  Shape input;
  int filters = 16;
  Window window;
  int groups = 1;
  int bits = 8;
};

class ConvolutionTest : public BackendFixture {
 protected:
  /// The convolution inside a network, where an identity shows its bytes, and at the end, where it gives logits; on
  /// signed and unsigned activations.
  void check(const ConvolutionCase& tested, int images = 3) {
    SCOPED_TRACE(tested.what);
    for (const bool is_signed : {false, true}) {
      for (const bool at_end : {false, true}) {
        NetworkBuilder builder(1, tested.input);
        const int input = builder.spread(0, is_signed);
        const int layer =
            builder.convolution(input, tested.filters, tested.window, tested.groups, tested.bits, is_signed);
        if (!at_end) builder.add(Function{}, {layer}, builder.shape(layer), {1, true});
        expect_naive(builder.network(), builder.images(images));
      }
    }
  }
};

TEST_P(ConvolutionTest, ChannelsAndFilters) {
  for (const int channels : {1, 3, 5, 17, 33}) {
    for (const int filters : {1, 3, 8, 15, 16, 17, 31, 33, 49}) {
      check({std::to_string(channels) + " to " + std::to_string(filters),
             {channels, 6, 7},
             filters,
             {.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1}});
    }
  }
}

TEST_P(ConvolutionTest, Pointwise) {
  for (const int channels : {1, 4, 6, 35, 64}) {
    check({"pointwise", {channels, 5, 5}, 24, {}});
    check({"pointwise, stride 2", {channels, 5, 7}, 24, {.stride_h = 2, .stride_w = 2}});
    check({"pointwise, one column", {channels, 9, 1}, 40, {.stride_h = 2}});
  }
}

TEST_P(ConvolutionTest, FullyConnected) {
  for (const int images : {1, 2, 7, 13}) {
    check({"whole input", {5, 4, 3}, 37, {.kernel_h = 4, .kernel_w = 3}}, images);
    check({"one pixel", {130, 1, 1}, 10, {}}, images);
  }
}

TEST_P(ConvolutionTest, RandomWindows) {
  NetworkBuilder random(7, {1, 1, 1});
  for (int trial = 0; trial < 120; ++trial) {
    const Window window{.kernel_h = random.pick(1, 5),
                        .kernel_w = random.pick(1, 5),
                        .stride_h = random.pick(1, 3),
                        .stride_w = random.pick(1, 3),
                        .dilation_h = random.pick(1, 2),
                        .dilation_w = random.pick(1, 2),
                        .pad_top = random.pick(0, 3),
                        .pad_left = random.pick(0, 3),
                        .pad_bottom = random.pick(0, 3),
                        .pad_right = random.pick(0, 3)};
    const int groups = random.pick(0, 2) ? 1 : random.pick(2, 3);
    const Shape input{groups * random.pick(1, 9), random.pick(9, 14), random.pick(9, 14)};
    check({"trial " + std::to_string(trial), input, groups * random.pick(1, 20), window, groups,
           random.pick(0, 3) ? 8 : 12},
          random.pick(1, 4));
  }
}

// Groups of whole vectors, more filters and channels than one block or pipeline takes at once.
TEST_P(ConvolutionTest, ManyChannelsAndFilters) {
  const Window same{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  for (const int channels : {16, 32, 48}) {
    for (const int filters : {16, 48, 80}) {
      check({"groups of " + std::to_string(channels) + " to " + std::to_string(filters),
             {2 * channels, 5, 4},
             2 * filters,
             same,
             2},
            2);
    }
  }
  check({"300 pointwise channels", {300, 4, 5}, 150, {}}, 8);
  check({"130 channels", {130, 5, 4}, 270, same}, 1);
  check({"7 x 7 of 3 channels, stride 2",
         {3, 17, 18},
         65,
         {.kernel_h = 7, .kernel_w = 7, .stride_h = 2, .stride_w = 2, .pad_top = 3, .pad_left = 3}},
        2);
}

TEST_P(ConvolutionTest, Depthwise) {
  const Window window{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  for (const int channels : {2, 3, 8, 16, 17, 32, 33, 70}) {
    check({"depthwise", {channels, 7, 6}, channels, window, channels});
    check({"depthwise, two filters per channel", {channels, 5, 6}, 2 * channels, window, channels});
    check({"depthwise, 12 bits", {channels, 5, 6}, channels, window, channels, 12});
  }
  check({"depthwise, 5 x 2, stride 2",
         {20, 11, 12},
         20,
         {.kernel_h = 5, .kernel_w = 2, .stride_h = 2, .stride_w = 2, .dilation_h = 2, .pad_bottom = 3},
         20});
}

TEST_P(ConvolutionTest, WideWeights) {
  for (const int bits : {4, 9, 12, 16}) {
    check({std::to_string(bits) + " bits", {3, 6, 5}, 19, {.kernel_h = 2, .kernel_w = 2, .pad_left = 1}, 1, bits});
  }
}

// More than one strip of rows, of images, and more than one block of pixels per kernel call.
TEST_P(ConvolutionTest, LargeMaps) {
  const Window window{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  check({"rows", {40, 90, 65}, 5, window}, 1);
  check({"images", {6, 40, 40}, 33, window}, 5);
  check({"rows, stride 2",
         {33, 101, 90},
         3,
         {.kernel_h = 5, .kernel_w = 5, .stride_h = 2, .stride_w = 2, .dilation_h = 2, .pad_top = 4}},
        1);
  check({"depthwise rows", {64, 60, 60}, 64, window, 64}, 1);
}

// The largest sums that 8 bits can form, where saturating or 16-bit arithmetic would fail.
TEST_P(ConvolutionTest, ExtremeValues) {
  for (const int sign : {1, -1}) {
    for (const int groups : {1, 64}) {
      NetworkBuilder builder(1, {64, 4, 4});
      const int input = builder.spread(0, false);
      const int layer = builder.convolution(input, 64, {.kernel_h = 3, .kernel_w = 3}, groups, 8, true);
      std::fill(builder.network().weights[layer].values.begin(), builder.network().weights[layer].values.end(),
                std::int16_t(sign * 127));
      builder.add(Function{}, {layer}, builder.shape(layer), {1, true});
      for (const int byte : {0, 255}) {
        expect_naive(builder.network(), std::vector<std::uint8_t>(2 * 64 * 16, std::uint8_t(byte)));
      }
    }
  }
}

// 2 x 2 image 1 2 / 3 4 (integers 2 4 / 6 8 at scale 0.5), kernel 1 -1 at scale 0.25, bias 0.5 = 4 steps of 0.125.
// Sums with bias 2 2; times 0.125 / 0.0625 = 2: integers 4 4, times scale 0.0625 again: 0.25.
TEST_P(ConvolutionTest, ByHand) {
  NetworkBuilder builder(1, {1, 2, 2});
  builder.network().formats[0] = {0.5f, true};
  const int layer = builder.convolution(0, 1, {.kernel_w = 2}, 1, 8, true);
  builder.network().formats[layer].scale = 0.0625f;
  builder.network().weights[layer].values = {1, -1};
  builder.network().weights[layer].scales = {0.25f};
  std::get<Convolution>(builder.network().network.layers[layer].operation).bias = {0.5f};
  builder.add(Function{}, {layer}, builder.shape(layer), {1, true});
  EXPECT_EQ(evaluate(builder.network(), {130, 132, 134, 136}), (std::vector<float>{0.25f, 0.25f}));
}

}  // namespace bitcluster
