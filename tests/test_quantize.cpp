#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "host/base/error.hpp"
#include "host/base/parallel.hpp"
#include "host/cpu/kernels.hpp"
#include "host/cpu/quantize.hpp"
#include "host/weights/format.hpp"
#include "host/weights/scale_search.hpp"
#include "host/weights/terms.hpp"
#include "tests/weight_formats.hpp"

namespace bitcluster {
namespace {

/// Digits of the non-adjacent form by its textbook definition: odd n takes 2 - (n mod 4), then halve.
int digits_by_definition(int n) {
  int digits = 0;
  while (n != 0) {
    if (n % 2 != 0) {
      n -= 2 - n % 4;
      ++digits;
    }
    n /= 2;
  }
  return digits;
}

int bits_by_definition(int n) {
  int bits = 0;
  for (; n != 0; n /= 2) bits += n % 2;
  return bits;
}

bool allowed(const WeightFormat& format, int magnitude) {
  const int terms =
      format.encoding == Encoding::binary ? bits_by_definition(magnitude) : digits_by_definition(magnitude);
  if (format.terms == 0 || magnitude == 0) return true;
  return format.exact ? terms == format.terms : terms <= format.terms;
}

std::vector<int> allowed_magnitudes(const WeightFormat& format) {
  std::vector<int> magnitudes;
  for (int magnitude = 0; magnitude < 1 << (format.bits - 1); ++magnitude) {
    if (allowed(format, magnitude)) magnitudes.push_back(magnitude);
  }
  return magnitudes;
}

/// Nearest allowed magnitude by trying all, ties to the smaller.
int nearest_by_trying(const std::vector<int>& magnitudes, double weight, double scale) {
  int best = 0;
  for (const int candidate : magnitudes) {
    if (std::abs(weight - scale * candidate) < std::abs(weight - scale * best)) best = candidate;
  }
  return best;
}

double squared_error(std::span<const float> weights, const QuantizedWeights& quantized) {
  double error = 0;
  const std::size_t size = weights.size() / quantized.scales.size();
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double difference = double(weights[i]) - double(quantized.scales[i / size]) * quantized.values[i];
    error += difference * difference;
  }
  return error;
}

std::vector<float> random_weights(int count, unsigned seed, double tail = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, 0.05);
  std::vector<float> weights(count);
  for (float& weight : weights) {
    const double value = normal(generator);
    weight = float(std::copysign(std::pow(std::abs(value), tail), value));
  }
  return weights;
}

std::vector<WeightFormat> many_formats() {
  std::vector<WeightFormat> formats;
  for (const Encoding encoding : {Encoding::binary, Encoding::signed_digit}) {
    for (const int bits : {4, 5, 8, 10}) {
      for (const int terms : {0, 1, 2, 3}) formats.push_back(format_of(bits, encoding, terms, false, true));
      formats.push_back(format_of(bits, encoding, 1, true, true));
      formats.push_back(format_of(bits, encoding, 2, true, true));
    }
  }
  return formats;
}

bool throws(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error&) {
    return true;
  }
  return false;
}

TEST(Terms, WorkedByHand) {
  EXPECT_EQ(count_terms(Encoding::binary, 0), 0);
  EXPECT_EQ(count_terms(Encoding::binary, 0b1011101), 5);
  EXPECT_EQ(count_terms(Encoding::signed_digit, 0), 0);
  EXPECT_EQ(count_terms(Encoding::signed_digit, 7), 2);    // 8 - 1
  EXPECT_EQ(count_terms(Encoding::signed_digit, 127), 2);  // 128 - 1: one position past the top bit
  EXPECT_EQ(count_terms(Encoding::signed_digit, 11), 3);   // 8 + 4 - 1 = 16 - 4 - 1
  EXPECT_EQ(count_terms(Encoding::signed_digit, 85), 4);
}

TEST(Terms, EqualTheDefinition) {
  for (int magnitude = 0; magnitude < 1 << 16; ++magnitude) {
    ASSERT_EQ(count_terms(Encoding::binary, magnitude), bits_by_definition(magnitude)) << magnitude;
    ASSERT_EQ(count_terms(Encoding::signed_digit, magnitude), digits_by_definition(magnitude)) << magnitude;
  }
}

TEST(Terms, NamesRoundTripAndUnknownOnesAreErrors) {
  EXPECT_EQ(encoding_from_string(to_string(Encoding::binary)), Encoding::binary);
  EXPECT_EQ(encoding_from_string(to_string(Encoding::signed_digit)), Encoding::signed_digit);
  EXPECT_TRUE(throws([] { encoding_from_string("booth"); }));
  EXPECT_TRUE(throws([] { count_terms(Encoding::binary, -1); }));
}

TEST(Quantize, RoundsEveryWeightToTheNearestAllowedMagnitude) {
  for (const WeightFormat& format : many_formats()) {
    const std::vector<float> weights = random_weights(300, 1);
    const std::vector<int> magnitudes = allowed_magnitudes(format);
    const QuantizedWeights quantized = quantize(weights, 3, format);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const int value = quantized.values[i];
      const int expected = nearest_by_trying(magnitudes, std::abs(weights[i]), quantized.scales[i / 100]);
      ASSERT_EQ(std::abs(value), expected) << format.bits << " bits, " << format.terms << " terms";
      ASSERT_TRUE(value == 0 || (value < 0) == (weights[i] < 0));
    }
  }
}

TEST(Quantize, TiesGoToTheSmallerMagnitude) {
  // Everything but a few ties lies on the grid of scale 1, which is the least scale allowed.
  const std::vector<float> minimum = {1.0f};
  std::vector<float> weights;
  for (int i = 0; i < 50 * 127; ++i) weights.push_back(float(i % 127 + 1));
  weights[0] = 2.5f;
  weights[1] = -2.5f;
  weights[2] = 0.5f;
  weights[3] = 3.5f;
  weights[4] = std::nextafter(3.5f, 4.0f);
  QuantizedWeights quantized = quantize(weights, 1, format_of(8, Encoding::binary, 0, false, true), minimum);
  ASSERT_EQ(quantized.scales[0], 1.0f);
  EXPECT_EQ(quantized.values[0], 2);
  EXPECT_EQ(quantized.values[1], -2);
  EXPECT_EQ(quantized.values[2], 0);
  EXPECT_EQ(quantized.values[3], 3);
  EXPECT_EQ(quantized.values[4], 4);

  // BitCluster(1): 24 lies between 16 and 32, 6 between 4 and 8
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = float(1 << i % 7);
  weights[0] = 24;
  weights[1] = -6;
  weights[2] = std::nextafter(24.0f, 25.0f);
  quantized = quantize(weights, 1, format_of(8, Encoding::binary, 1, false, true), minimum);
  ASSERT_EQ(quantized.scales[0], 1.0f);
  EXPECT_EQ(quantized.values[0], 16);
  EXPECT_EQ(quantized.values[1], -4);
  EXPECT_EQ(quantized.values[2], 32);
}

TEST(Quantize, RecoversWeightsThatAreOnTheGrid) {
  // -3 .. 3 times 2^-4 in BitCluster(2) with 4 bits, largest magnitude 6 = 110b present
  const std::vector<float> weights = {0.375f, -0.3125f, 0.0625f, 0.0f, -0.125f, 0.1875f, 0.25f};
  const QuantizedWeights quantized = quantize(weights, 1, format_of(4, Encoding::binary, 2, false, true));
  EXPECT_LT(squared_error(weights, quantized), 1e-12);
}

TEST(Quantize, ScaleIsCloseToTheBestOfADenseScan) {
  for (const WeightFormat& format : many_formats()) {
    const std::vector<int> magnitudes = allowed_magnitudes(format);
    for (const double tail : {1.0, 2.0}) {
      const std::vector<float> weights = random_weights(200, 7, tail);
      const double found = squared_error(weights, quantize(weights, 1, format));
      double largest = 0;
      for (const float weight : weights) largest = std::max(largest, double(std::abs(weight)));
      double best = std::numeric_limits<double>::infinity();
      for (int step = 0; step < 300; ++step) {
        const double scale = largest * 4 * std::pow(0.98, step) / ((1 << (format.bits - 1)) - 1);
        double error = 0;
        for (const float weight : weights) {
          const double magnitude = std::abs(weight);
          const double difference = magnitude - scale * nearest_by_trying(magnitudes, magnitude, scale);
          error += difference * difference;
        }
        best = std::min(best, error);
      }
      // The error of 200 weights is ragged in the scale: two searches of about 2 % steps agree to about 2 %.
      EXPECT_LT(found, 1.03 * best) << format.bits << " bits " << to_string(format.encoding) << " " << format.terms
                                    << " terms exact " << format.exact << " tail " << tail;
    }
  }
}

TEST(Quantize, SignedDigitsAreNeverWorseThanBits) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    // few weights give the ragged errors with which a search of one's own would lose
    const std::vector<float> weights = random_weights(3 + int(seed % 30), seed, seed % 2 ? 1 : 1.5);
    for (const int bits : {4, 8}) {
      for (const int terms : {1, 2, 3}) {
        const double binary = squared_error(weights, quantize(weights, 1, format_of(bits, Encoding::binary, terms)));
        const double digits =
            squared_error(weights, quantize(weights, 1, format_of(bits, Encoding::signed_digit, terms)));
        ASSERT_LE(digits, binary * (1 + 1e-12)) << seed << " " << bits << " " << terms;
      }
    }
  }
}

TEST(Quantize, OneScalePerTensorOrPerFilter) {
  std::vector<float> weights = random_weights(800, 3);
  for (std::size_t i = 400; i < 800; ++i) weights[i] *= 50;
  const QuantizedWeights per_tensor = quantize(weights, 2, format_of(8, Encoding::binary, 2, false, false));
  EXPECT_EQ(per_tensor.scales[0], per_tensor.scales[1]);
  const QuantizedWeights per_filter = quantize(weights, 2, format_of(8, Encoding::binary, 2, false, true));
  EXPECT_NEAR(per_filter.scales[1] / per_filter.scales[0], 50, 25);
  EXPECT_LT(squared_error(weights, per_filter), squared_error(weights, per_tensor));
}

TEST(Quantize, ZeroFiltersAndLeastScales) {
  const std::vector<float> weights = {0, 0, 0, 1e-40f, -1e-40f, 0, 0, -0.0f, 0};
  const QuantizedWeights free = quantize(weights, 3, {});
  EXPECT_EQ(free.scales[0], 1.0f);
  EXPECT_GT(free.scales[1], 0.0f);
  const std::vector<float> minimum = {0.5f, 0.25f, 0.0f};
  const QuantizedWeights bounded = quantize(weights, 3, {}, minimum);
  EXPECT_EQ(bounded.scales, (std::vector<float>{0.5f, 0.25f, 1.0f}));
  EXPECT_EQ(bounded.values, std::vector<std::int16_t>(9, 0));
}

TEST(Quantize, SameBitsForAnyNumberOfThreads) {
  const std::vector<float> weights = random_weights(64 * 27, 5);
  const int threads = thread_count();
  for (const bool per_channel : {true, false}) {
    const WeightFormat format = format_of(8, Encoding::signed_digit, 2, false, per_channel);
    set_thread_count(1);
    const QuantizedWeights one = quantize(weights, 64, format);
    set_thread_count(5);
    const QuantizedWeights five = quantize(weights, 64, format);
    set_thread_count(threads);
    EXPECT_EQ(one.values, five.values);
    EXPECT_EQ(one.scales, five.scales);
  }
}

TEST(Quantize, SameErrorsInEveryInstructionSet) {
  const ScaleSearch search = bitcluster_weights.scale_search(bitcluster_format(2));
  const std::vector<double>& nearest = search.values.nearest;
  for (const int count : {1, 15, 16, 27, 255, 256}) {
    const std::vector<float> weights = random_weights(count, unsigned(count));
    for (const double scale : {1e-5, 0.001, 0.02}) {
      double sum = 0;
      for (const float weight : weights) {
        const double magnitude = std::abs(weight);
        const double difference =
            magnitude -
            scale * nearest_by_trying(allowed_magnitudes(format_of(8, Encoding::binary, 2)), magnitude, scale);
        sum += difference * difference;
      }
      const double expected =
          find_kernels("portable")->squared_error(weights.data(), count, scale, nearest.data(), search.values.last());
      EXPECT_NEAR(expected, sum, 1e-12 * sum);
      for (const char* name : {"avx2", "avx512-vnni"}) {
        const Kernels* kernels = find_kernels(name);
        if (!kernels) continue;
        EXPECT_EQ(kernels->squared_error(weights.data(), count, scale, nearest.data(), search.values.last()), expected);
      }
    }
  }
}

TEST(Quantize, PruningKeepsTheHighestBitsOfPlainIntegers) {
  std::mt19937 random(13);
  std::vector<float> weights(600);
  for (float& weight : weights) weight = float(int(random() % 2001) - 1000) / 700;
  const QuantizedWeights plain = quantize(weights, 3, {});
  for (int n = 1; n <= 7; ++n) {
    const WeightFormat format = pruned_format(Encoding::binary, n);
    const QuantizedWeights pruned = quantize(weights, 3, format);
    EXPECT_EQ(pruned.scales, plain.scales);
    EXPECT_EQ(pruned.format, format);
    double terms = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      std::string bits;  // of the plain magnitude, highest first; what follows the N-th one becomes zeros
      for (int magnitude = std::abs(plain.values[i]), bit = 128; bit > 0; bit /= 2) {
        const bool kept = std::count(bits.begin(), bits.end(), '1') < n;
        bits += kept && magnitude & bit ? '1' : '0';
      }
      const int expected = std::stoi(bits, nullptr, 2);
      ASSERT_EQ(std::abs(pruned.values[i]), expected);
      ASSERT_TRUE(pruned.values[i] == 0 || (pruned.values[i] < 0) == (plain.values[i] < 0));
      terms += double(std::count(bits.begin(), bits.end(), '1'));
    }
    EXPECT_DOUBLE_EQ(mean_terms(pruned), terms / double(weights.size()));  // no null terms
  }
}

TEST(Quantize, RejectsWhatItCannotDo) {
  const std::vector<float> weights = {1, 2, 3, 4};
  EXPECT_TRUE(throws([&] { quantize(weights, 1, {3}); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 1, {17}); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 1, format_of(8, Encoding::binary, -1)); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 1, format_of(8, Encoding::binary, 0, true)); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 1, format_of(8, Encoding::signed_digit, 6, true)); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 1, pruned_format(Encoding::binary, 0)); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 1, pruned_format(Encoding::signed_digit, 2)); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 3, {}); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 0, {}); }));
  EXPECT_TRUE(throws([&] { quantize(weights, 2, {}, std::vector<float>{1}); }));
  EXPECT_TRUE(throws([&] { quantize(std::vector<float>{1, NAN}, 1, {}); }));
  EXPECT_TRUE(throws([&] { quantize(std::vector<float>{1, INFINITY}, 1, {}); }));
}

TEST(Quantize, MeanTermsCountsNullTermsOfBitClusterAndEffectualBitsOfIntegers) {
  QuantizedWeights weights{format_of(8, Encoding::binary, 0), {7, -8, 0, 127}, {1}};
  EXPECT_EQ(mean_terms(weights), (3 + 1 + 0 + 7) / 4.0);
  weights.format.encoding = Encoding::signed_digit;
  EXPECT_EQ(mean_terms(weights), (2 + 1 + 0 + 2) / 4.0);
  weights.format = bitcluster_format(3);
  EXPECT_EQ(mean_terms(weights), 3);
}

}  // namespace
}  // namespace bitcluster
