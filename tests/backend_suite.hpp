#pragma once

// Whole networks against the naive reference, for every backend: see test_cpu_backend.cpp, test_gpu_backend.cpp.

#include "host/base/error.hpp"
#include "tests/backend_fixture.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
inline constexpr float infinity = NetworkBuilder::infinity;

/// Every kind of layer in one network with branches, so that each sees signed and unsigned tensors of odd sizes.
inline NetworkBuilder every_kind(unsigned seed, bool is_signed) {
  NetworkBuilder builder(seed, {3, 13, 11});
  const Window same{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  const int first = builder.convolution(0, 19, same, 1, 8, is_signed);
  const int second = builder.convolution(first, 19, same, 19, 8, is_signed);
  const int sum = builder.add(Add{}, {first, second}, builder.shape(first),
                              {builder.network().formats[first].scale * 1.7f, is_signed});
  const int norm = builder.add(LocalResponseNorm{5, 0.3f, 0.75f, 1}, {sum}, builder.shape(sum),
                               {builder.network().formats[sum].scale * 0.6f, is_signed});
  const int pooled = builder.pool(
      norm, Pool::Kind::max, {.kernel_h = 3, .kernel_w = 2, .stride_h = 2, .stride_w = 2, .pad_top = 1, .pad_left = 1});
  const int averaged =
      builder.pool(norm, Pool::Kind::average,
                   {.kernel_h = 3, .kernel_w = 2, .stride_h = 2, .stride_w = 2, .pad_top = 1, .pad_left = 1}, true);
  const Shape& shape = builder.shape(pooled);
  const int both = builder.add(Concat{}, {pooled, averaged, pooled}, {3 * shape.channels, shape.height, shape.width},
                               {builder.network().formats[norm].scale * 0.9f, is_signed});
  const int squeezed = builder.global_average(both);
  const int gate = builder.convolution(squeezed, builder.shape(both).channels, {}, 1, 8, true);
  const int sigmoid = builder.add(Function{Function::Kind::sigmoid}, {gate}, builder.shape(gate), {1 / 255.0f, false});
  const int scaled = builder.add(Multiply{}, {both, sigmoid}, builder.shape(both),
                                 {builder.network().formats[both].scale * 0.7f, is_signed});
  Rearrange rearrange;
  const int size = int(builder.shape(scaled).size());
  for (int i = 0; i < size; ++i) rearrange.source.push_back(builder.pick(-1, size - 1));
  const int moved = builder.add(rearrange, {scaled}, builder.shape(scaled), builder.network().formats[scaled]);
  const int product = builder.add(Multiply{}, {moved, scaled}, builder.shape(moved),
                                  {builder.network().formats[moved].scale * 0.2f, is_signed}, -infinity,
                                  builder.network().formats[moved].scale * 20);
  const int swished = builder.add(Function{Function::Kind::hard_swish}, {product}, builder.shape(product),
                                  {builder.network().formats[product].scale, true});
  builder.fully_connected(swished, 10);
  return builder;
}

class BackendTest : public BackendFixture {};

TEST_P(BackendTest, EveryKindOfLayer) {
  for (const bool is_signed : {false, true}) {
    NetworkBuilder builder = every_kind(3, is_signed);
    for (const int count : {1, 5}) expect_naive(builder.network(), builder.images(count));
    // and every layer as the one that gives the logits
    for (std::size_t layers = builder.network().network.layers.size(); layers > 1; --layers) {
      IntegerNetwork cut = builder.network();
      cut.network.layers.resize(layers);
      cut.formats.resize(layers);
      cut.weights.resize(layers);
      SCOPED_TRACE("cut behind " + cut.network.layers.back().name);
      expect_naive(cut, builder.images(2));
    }
  }
}

TEST_P(BackendTest, FunctionsAndClamps) {
  for (const bool is_signed : {false, true}) {
    for (const auto kind : function_kinds) {
      for (const bool at_end : {false, true}) {
        NetworkBuilder builder(1, {1, 16, 16});
        const int input = builder.spread(0, is_signed);
        const int layer =
            builder.add(Function{kind, 0.2f, 0.5f}, {input}, builder.shape(input), {0.013f, true}, -0.4f, 1.3f);
        if (!at_end) builder.add(Function{}, {layer}, builder.shape(layer), {1, true});
        std::vector<std::uint8_t> every_byte(256);
        for (int i = 0; i < 256; ++i) every_byte[i] = std::uint8_t(i);
        expect_naive(builder.network(), every_byte);
      }
    }
  }
}

TEST_P(BackendTest, PoolsOfAllWindows) {
  NetworkBuilder random(11, {1, 1, 1});
  for (int trial = 0; trial < 60; ++trial) {
    const int kernel_h = random.pick(1, 4), kernel_w = random.pick(1, 4);
    const Window window{.kernel_h = kernel_h,
                        .kernel_w = kernel_w,
                        .stride_h = random.pick(1, 3),
                        .stride_w = random.pick(1, 3),
                        .pad_top = random.pick(0, kernel_h - 1),
                        .pad_left = random.pick(0, kernel_w - 1),
                        .pad_bottom = random.pick(0, kernel_h - 1),
                        .pad_right = random.pick(0, kernel_w - 1)};
    NetworkBuilder builder(trial, {random.pick(1, 300), random.pick(4, 8), random.pick(4, 8)});
    const int input = builder.spread(0, trial % 2);
    const auto kind = trial % 3 ? Pool::Kind::average : Pool::Kind::max;
    const int layer = builder.pool(input, kind, window, trial % 5 < 2);
    if (trial % 4 == 0) builder.network().formats[layer] = {0.03f, trial % 2 == 1};
    builder.add(Function{}, {layer}, builder.shape(layer), {1, true});
    expect_naive(builder.network(), builder.images(2));
  }
}

// Windows of any size, odd and even, up to far more channels than there are.
TEST_P(BackendTest, LocalResponseNormsOfAllSizes) {
  for (const int size : {1, 2, 3, 4, 5, 7, 8, 9, 14, 15, 16, 17, 40001}) {
    for (const int channels : {1, 3, 8}) {
      for (const bool is_signed : {false, true}) {
        NetworkBuilder builder(unsigned(size), {channels, 5, 4});
        const int input = builder.spread(0, is_signed);
        const int norm = builder.add(LocalResponseNorm{size, 0.1f * float(size), 0.75f, 1}, {input},
                                     builder.shape(input), {builder.network().formats[input].scale * 0.4f, is_signed});
        builder.add(Function{}, {norm}, builder.shape(norm), {1, true});
        SCOPED_TRACE(std::to_string(size) + " of " + std::to_string(channels) + " channels");
        expect_naive(builder.network(), builder.images(2));
      }
    }
  }
}

// 33026 * 255^2 is the first sum of squares that int32 does not hold.
TEST_P(BackendTest, RefusesLocalResponseNormsThatOverflow) {
  NetworkBuilder builder(1, {33026, 1, 1});
  const int input = builder.spread(0, false);
  const int norm = builder.add(LocalResponseNorm{40001, 1, 0.75f, 1}, {input}, builder.shape(input), {0.01f, false});
  const std::vector<std::uint8_t> pixels = builder.images(1);
  const std::string name = builder.network().network.layers[norm].name;
  EXPECT_MESSAGE(
      evaluate(builder.network(), pixels),
      "layer '" + name + "' can overflow int32: its sum of squares can reach 2147515650 over 33026 channels");
  std::get<LocalResponseNorm>(builder.network().network.layers[norm].operation).size = 3;
  expect_naive(builder.network(), pixels);
}

// Averages of 0.5, 1.5, 2.5 go to the even neighbour: 0, 2, 2.
TEST_P(BackendTest, TiesRoundToEven) {
  NetworkBuilder builder(1, {1, 1, 6});
  builder.network().formats[0] = {1, true};
  const int layer = builder.pool(0, Pool::Kind::average, {.kernel_w = 2, .stride_w = 2});
  builder.add(Function{}, {layer}, builder.shape(layer), {1, true});
  EXPECT_EQ(evaluate(builder.network(), {128, 129, 129, 130, 130, 131}), (std::vector<float>{0, 2, 2}));
}

TEST_P(BackendTest, AnyNumberOfThreadsAndImages) {
  NetworkBuilder builder = every_kind(5, false);
  const int count = 7;
  const std::vector<std::uint8_t> pixels = builder.images(count);
  const std::vector<float> expected = naive::evaluate(builder.network(), {}, pixels.data(), count);
  for (const int threads : {1, 2, 3}) {
    set_thread_count(threads);
    EXPECT_EQ(evaluate(builder.network(), pixels), expected);
  }
  EXPECT_TRUE(evaluate(builder.network(), {}).empty());
}

TEST_P(BackendTest, HeldImages) {
  NetworkBuilder builder = every_kind(7, true);
  const std::vector<std::uint8_t> pixels = builder.images(6), others = builder.images(2);
  const int size = int(builder.network().network.input().size());
  const std::vector<float> expected = naive::evaluate(builder.network(), {}, pixels.data(), 6);
  const HeldImages held(*backend_, pixels);
  for (const auto& [first, count] : {std::pair{0, 6}, {1, 3}, {5, 1}}) {
    const std::vector<std::uint8_t> copy(pixels.begin() + first * size, pixels.begin() + (first + count) * size);
    std::vector<float> logits(std::size_t(count) * 10);
    backend_->load(builder.network());
    backend_->evaluate({pixels.data() + first * size, count}, std::vector<Variant>(1), logits);
    EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin() + first * 10));
    EXPECT_EQ(evaluate(builder.network(), copy), logits);  // not the held ones, equal pixels
  }
  expect_naive(builder.network(), others);
}

TEST_P(BackendTest, VariantsEqualNetworksLoadedWithThem) {
  NetworkBuilder builder = every_kind(9, true);
  const std::vector<std::uint8_t> pixels = builder.images(4);
  const std::vector<int> weighted = weighted_layers(builder.network().network);
  std::vector<Variant> variants = {{}};
  for (const int layer : weighted) variants.push_back({{layer, builder.random_weights(layer, 5)}});
  variants.push_back({{weighted[1], variants[2][0].weights}, {weighted[3], builder.random_weights(weighted[3], 12)}});
  Variant all;
  for (const int layer : weighted) all.push_back({layer, builder.random_weights(layer, 8)});
  variants.push_back(all);
  variants.push_back({});

  const std::vector<float> together = evaluate(builder.network(), pixels, variants);
  std::vector<float> apart;
  for (const Variant& variant : variants) {
    IntegerNetwork changed = builder.network();
    for (const WeightChange& change : variant) changed.weights[change.layer] = *change.weights;
    const std::vector<float> logits = evaluate(changed, pixels);
    EXPECT_EQ(logits, naive::evaluate(builder.network(), variant, pixels.data(), 4));
    apart.insert(apart.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(together, apart);
  // without the reference among them, so that it need not be computed
  EXPECT_EQ(evaluate(builder.network(), pixels, {all}), naive::evaluate(builder.network(), all, pixels.data(), 4));
}

// Blocks of residual networks: sums right behind a convolution, of a tensor or of two convolutions, on either side,
// with and without another reader of the convolution.
TEST_P(BackendTest, ResidualBlocks) {
  const Window same{.kernel_h = 3, .kernel_w = 3, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1};
  for (const int channels : {4, 7, 20}) {
    for (const bool is_signed : {false, true}) {
      NetworkBuilder builder(unsigned(channels), {3, 9, 8});
      const int first = builder.convolution(0, channels, same, 1, 8, is_signed);
      const auto sum = [&](int a, int b) {
        return builder.add(Add{}, {a, b}, builder.shape(a), {builder.network().formats[a].scale * 1.3f, is_signed});
      };
      const int left = builder.convolution(first, channels, same, 1, 8, true);
      const int one = sum(left, first);
      const int right = builder.convolution(one, channels, {}, 1, 8, is_signed);
      const int shortcut = builder.convolution(first, channels, same, channels, 8, true);
      const int two = sum(right, shortcut);
      const int wide = builder.convolution(two, channels, same, 1, 12, true);
      const int three = sum(two, wide);
      const int seen = builder.convolution(three, channels, same, 1, 8, true);
      const int four = sum(seen, three);
      const int five = sum(four, seen);
      builder.fully_connected(sum(five, five), 10);
      const std::vector<std::uint8_t> pixels = builder.images(3);
      expect_naive(builder.network(), pixels);
      std::vector<Variant> variants;
      std::vector<float> expected;
      for (const int layer : weighted_layers(builder.network().network)) {
        variants.push_back({{layer, builder.random_weights(layer, 6)}});
        const std::vector<float> logits = naive::evaluate(builder.network(), variants.back(), pixels.data(), 3);
        expected.insert(expected.end(), logits.begin(), logits.end());
      }
      EXPECT_EQ(evaluate(builder.network(), pixels, variants), expected);
    }
  }
}

TEST_P(BackendTest, ObservesInputsInOrder) {
  NetworkBuilder builder = every_kind(13, true);
  const int count = 5;
  const std::vector<std::uint8_t> pixels = builder.images(count);
  const std::vector<int> weighted = weighted_layers(builder.network().network);
  const Variant variant = {{weighted[0], builder.random_weights(weighted[0], 6)}};
  naive::Evaluator evaluator(builder.network(), variant);
  std::vector<std::pair<int, int>> expected_order, order;
  std::vector<std::vector<naive::Tensor>> tensors;
  for (int image = 0; image < count; ++image) {
    tensors.push_back(evaluator.run(pixels.data() + image * builder.network().network.input().size()));
    for (const int layer : weighted) expected_order.push_back({image, layer});
  }
  backend_->load(builder.network());
  for (const int threads : {1, 3}) {
    set_thread_count(threads);
    order.clear();
    backend_->observe_inputs(
        {pixels.data(), count}, variant, [&](int image, int layer, std::span<const std::int16_t> values) {
          order.push_back({image, layer});
          const auto& expected = tensors[image][builder.network().network.layers[layer].inputs[0]].integers;
          EXPECT_TRUE(std::equal(values.begin(), values.end(), expected.begin(), expected.end()));
        });
    EXPECT_EQ(order, expected_order);
  }
}

TEST_P(BackendTest, SaysWhatIsWrong) {
  std::vector<float> logits(1);
  EXPECT_THROW(backend_->evaluate({nullptr, 1}, {}, logits), Error);  // nothing loaded
  NetworkBuilder builder = every_kind(1, false);
  const std::vector<std::uint8_t> pixels = builder.images(1);
  EXPECT_THROW(evaluate(builder.network(), pixels, {{{0, std::make_shared<QuantizedWeights>()}}}), Error);
  EXPECT_THROW(evaluate(builder.network(), pixels, {{{1, nullptr}}}), Error);
  EXPECT_THROW(evaluate(builder.network(), pixels, {{{1000, builder.random_weights(1, 8)}}}), Error);
  backend_->load(builder.network());
  EXPECT_THROW(backend_->evaluate({pixels.data(), 1}, std::vector<Variant>(1), logits), Error);  // no place
}

}  // namespace bitcluster
