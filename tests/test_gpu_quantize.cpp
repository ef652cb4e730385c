#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/quantize.hpp"
#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/quantize.hpp"
#include "tests/gpu_fixture.hpp"
#include "tests/weight_formats.hpp"

namespace bitcluster {
namespace {

std::string describe(const WeightFormat& format) {
  return std::to_string(format.bits) + " bits, " + to_string(format.encoding) + ", " + std::to_string(format.terms) +
         " terms" + (format.exact ? ", exact" : "") + (format.per_channel ? "" : ", per tensor") + ", " +
         std::string(format.preparation->name);
}

/// Every kind of format at the given number of bits.
std::vector<WeightFormat> formats_of(int bits) {
  std::vector<WeightFormat> formats;
  for (const bool per_channel : {true, false}) {
    for (const Encoding encoding : {Encoding::binary, Encoding::signed_digit}) {
      for (const int terms : {0, 1, 2, 3}) formats.push_back(format_of(bits, encoding, terms, false, per_channel));
      for (const int terms : {1, 2}) formats.push_back(format_of(bits, encoding, terms, true, per_channel));
    }
    formats.push_back(pruned_format(Encoding::binary, 2, bits, per_channel));
  }
  return formats;
}

/// Weights (filters, size) as they occur and as they do not: normal, heavy-tailed, multiples of one half with many
/// ties, filters of zeros, and magnitudes from denormal to close to overflow.
std::vector<float> random_weights(int filters, int size, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::vector<float> weights;
  for (int filter = 0; filter < filters; ++filter) {
    const unsigned kind = unsigned(random() % 8);
    const double magnitudes[] = {0.05, 1, 1e-44, 1e-38, 1e30, 3e37, 1e-20, 1};
    for (int i = 0; i < size; ++i) {
      const double value = kind == 7   ? 0.0
                           : kind == 1 ? double(int(random() % 255) - 127) / 2
                           : kind == 6 ? std::pow(normal(random), 3)
                                       : normal(random);
      weights.push_back(float(std::clamp(value * magnitudes[kind], -3.4e38, 3.4e38)));
    }
  }
  return weights;
}

void expect_equal(std::span<const float> weights, int filters, const WeightFormat& format,
                  std::span<const float> minimum_scales = {}) {
  const QuantizedWeights expected = quantize(weights, filters, format, minimum_scales);
  const QuantizedWeights found = quantize_on_device(weights, filters, format, minimum_scales);
  const std::string what = describe(format) + ", " + std::to_string(filters) + " filters of " +
                           std::to_string(weights.size() / std::size_t(filters));
  EXPECT_EQ(found.format, expected.format) << what;
  EXPECT_EQ(found.scales, expected.scales) << what;
  EXPECT_TRUE(found.values == expected.values) << what;
}

class GpuQuantize : public Gpu {
 protected:
  void SetUp() override {
    Gpu::SetUp();
    set_thread_count(1);  // layers this small gain nothing from more
  }
};

TEST_F(GpuQuantize, EqualsTheCpuInEveryFormat) {
  std::mt19937 random(1);
  for (int bits = 4; bits <= 16; ++bits) {
    for (const WeightFormat& format : formats_of(bits)) {
      const int filters = 1 + int(random() % 3), size = 1 + int(random() % 300);
      expect_equal(random_weights(filters, size, random), filters, format);
    }
  }
}

TEST_F(GpuQuantize, EqualsTheCpuForEveryShape) {
  std::mt19937 random(2);
  const std::vector<WeightFormat> formats = formats_of(8);
  // the ends of lanes (16), blocks (256) and chunks (4096) of the sums
  for (const int size : {1, 2, 15, 16, 17, 27, 255, 256, 257, 511, 4095, 4096, 4097, 4353, 8193}) {
    expect_equal(random_weights(2, size, random), 2, formats[random() % formats.size()]);
  }
  for (int repeat = 0; repeat < 20; ++repeat) {
    const int filters = 1 + int(random() % 70), size = 1 + int(random() % (repeat % 4 == 0 ? 5000 : 100));
    const int used = std::min(filters, 1 + 40000 / size);  // bounds the time without a GPU
    expect_equal(random_weights(used, size, random), used, formats[random() % formats.size()]);
  }
}

TEST_F(GpuQuantize, EqualsTheCpuInTinyFilters) {
  // errors so ragged that the best scale may lie anywhere
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  for (const int bits : {4, 8}) {
    for (const WeightFormat& format : formats_of(bits)) {
      if (!format.per_channel) continue;
      const int filters = 20;
      std::vector<float> weights(std::size_t(filters) * 3);
      for (float& weight : weights) weight = normal(random);
      expect_equal(weights, filters, format);
    }
  }
}

TEST_F(GpuQuantize, EqualsTheCpuWithLeastScales) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const WeightFormat& format : formats_of(8)) {
    const int filters = 7, size = 83;
    std::vector<float> weights, minimums;
    for (int i = 0; i < filters * size; ++i) weights.push_back(normal(random));
    // around what the search would choose, of no effect, and such that every weight rounds to zero
    for (int filter = 0; filter < filters; ++filter) minimums.push_back(std::ldexp(1.3f, filter * 3 - 13));
    expect_equal(weights, filters, format, minimums);
    std::fill(weights.begin(), weights.begin() + 3 * size, 0.0f);
    minimums[1] = 0;
    minimums[2] = -1;
    expect_equal(weights, filters, format, minimums);
  }
}

TEST_F(GpuQuantize, TiesGoToTheSmallerMagnitude) {
  std::vector<float> weights;
  for (int i = 0; i < 1270; ++i) weights.push_back(float(i % 127 + 1));
  weights[0] = 2.5f;
  weights[1] = -2.5f;
  weights[2] = 0.5f;
  weights[3] = std::nextafter(3.5f, 4.0f);
  const std::vector<float> minimum = {1};
  const QuantizedWeights quantized = quantize_on_device(weights, 1, {}, minimum);
  ASSERT_EQ(quantized.scales[0], 1);
  EXPECT_EQ(quantized.values[0], 2);
  EXPECT_EQ(quantized.values[1], -2);
  EXPECT_EQ(quantized.values[2], 0);
  EXPECT_EQ(quantized.values[3], 4);
  EXPECT_EQ(quantized.values[4], 5);
}

TEST_F(GpuQuantize, ZerosAndNothing) {
  for (const bool per_channel : {true, false}) {
    const WeightFormat format = format_of(8, Encoding::signed_digit, 2, false, per_channel);
    expect_equal(std::vector<float>(5000, -0.0f), 5, format);
    expect_equal(std::vector<float>(50, 0.0f), 5, format, std::vector<float>{0, 1, 2, -1, 4});
    expect_equal({}, 3, format);
  }
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(GpuQuantize, HasTheErrorsOfTheCpu) {
  const float infinite = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto expect_error = [](const std::vector<float>& weights, int filters, const WeightFormat& format,
                               const std::vector<float>& minimums = {}) {
    const std::string expected = message_of([&] { quantize(weights, filters, format, minimums); });
    EXPECT_NE(expected, "");
    EXPECT_EQ(message_of([&] { quantize_on_device(weights, filters, format, minimums); }), expected);
  };
  const std::vector<float> weights = {1, 2, 3, 4};
  expect_error(weights, 1, {3});
  expect_error(weights, 1, {17});
  expect_error(weights, 1, format_of(8, Encoding::binary, -1));
  expect_error(weights, 1, format_of(8, Encoding::binary, 0, true));
  expect_error(weights, 1, format_of(8, Encoding::signed_digit, 6, true));
  expect_error(weights, 1, pruned_format(Encoding::signed_digit, 2));
  expect_error({1, nan}, 1, format_of(8, Encoding::signed_digit, 6, true));
  expect_error(weights, 3, {});
  expect_error(weights, 0, {});
  expect_error(weights, 2, {}, {1});
  expect_error(weights, 2, {}, {1, nan});
  for (const bool per_channel : {true, false}) {
    for (const float bad : {infinite, -infinite, nan, -nan}) {
      expect_error({1, 2, bad, 4}, 2, format_of(8, Encoding::binary, 2, false, per_channel));
    }
  }
}

}  // namespace
}  // namespace bitcluster
