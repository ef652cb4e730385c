#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <random>

#include "host/base/parallel.hpp"
#include "host/cpu/calibrate.hpp"
#include "host/cpu/float_network.hpp"
#include "host/cpu/quantize.hpp"
#include "host/inference/integer_network.hpp"
#include "host/model/function.hpp"
#include "tests/expect_message.hpp"
#include "tests/naive_function.hpp"
#include "tests/weight_formats.hpp"

namespace bitcluster {
namespace {

Convolution pointwise(int filters, std::vector<float> weights, std::vector<float> bias) {
  Convolution convolution;
  convolution.filters = filters;
  convolution.weights = std::move(weights);
  convolution.bias = std::move(bias);
  return convolution;
}

/// input (2 channels) -> ReLU convolution -> classifier with 2 filters
Network two_layers() {
  Network network;
  network.name = "two";
  network.layers.push_back({"input", Input{}, {}, {2, 1, 1}});
  network.layers.push_back({"hidden", pointwise(2, {1, 0.5f, -1, 1}, {0, 0.25f}), {0}, {2, 1, 1}, 0});
  network.layers.push_back({"classifier", pointwise(2, {1, 0, 0.5f, 1}, {0, -1}), {1}, {2, 1, 1}});
  return network;
}

InputTable bytes_as_they_are(int channels) {
  InputTable table;
  for (int c = 0; c < channels; ++c) {
    for (int byte = 0; byte < 256; ++byte) table.push_back(float(byte - 128) / 128);
  }
  return table;
}

TEST(Calibrate, MaximumByHand) {
  const std::vector<float> images = {1, -0.5f, -1, 1};
  // hidden: (1 - 0.25, -1 - 0.5 + 0.25 -> 0), (-1 + 0.5 -> 0, 1 + 1 + 0.25); classifier: (0.75, 0.375 - 1), (0, 2.25 -
  // 1)
  const Calibration calibration = calibrate(two_layers(), images, 2, CalibrationMethod::maximum);
  ASSERT_EQ(calibration.formats.size(), 3u);
  EXPECT_TRUE(calibration.formats[0].is_signed);
  EXPECT_EQ(calibration.formats[0].scale, float(1.0 / 127));
  EXPECT_FALSE(calibration.formats[1].is_signed);
  EXPECT_EQ(calibration.formats[1].scale, float(2.25 / 255));
  EXPECT_TRUE(calibration.formats[2].is_signed);
  EXPECT_EQ(calibration.formats[2].scale, float(1.25 / 127));
}

/// A ReLU that passes `values` of one image of values.size() pixels.
Calibration calibrate_values(const std::vector<float>& values, CalibrationMethod method, double percentile = 99.99) {
  Network network;
  network.layers.push_back({"input", Input{}, {}, {1, 1, int(values.size())}});
  network.layers.push_back({"relu", pointwise(1, {1}, {0}), {0}, {1, 1, int(values.size())}, 0});
  return calibrate(network, values, 1, method, percentile);
}

// The grid is 0 to 255 where nothing is negative, else -127 to 127.
TEST(Calibrate, TakesTheModelsOwnScalesWhereTheyFit) {
  const auto scale = [](float low, float high, float step) {
    Network network;
    network.layers.push_back({"input", Input{}, {}, {1, 1, 2}});
    network.layers.push_back({"known", pointwise(1, {1}, {0}), {0}, {1, 1, 2}, 0, 127.5f, 0.5f});
    network.layers.push_back({"asked", pointwise(1, {-1}, {0}), {1}, {1, 1, 2}, low, high, step});
    network.layers.push_back({"last", pointwise(1, {1}, {0}), {2}, {1, 1, 2}});
    const Calibration calibration = calibrate(network, std::vector<float>{3, 2}, 1, CalibrationMethod::model);
    const OwnScales scales = own_scales(network, calibration);
    EXPECT_EQ(calibration.formats[1].scale, 0.5f);
    const bool own = scales.own == std::vector<int>{1, 2};
    EXPECT_EQ(scales.own.size() + scales.others.size(), 2u);
    EXPECT_EQ(own, calibration.formats[2].scale == step);
    return own;
  };
  EXPECT_TRUE(scale(0, 63.75f, 0.25f));      // uint8 or int8, 0 is the lowest integer
  EXPECT_TRUE(scale(-32, 31.75f, 0.25f));    // int8 around 0
  EXPECT_TRUE(scale(-15, 16, 0.25f));        // clipped to less
  EXPECT_TRUE(scale(0, 38.75f, 0.25f));      // zero point 100, but a Relu
  EXPECT_FALSE(scale(-25, 38.75f, 0.25f));   // zero point 100
  EXPECT_FALSE(scale(0, 16383.75f, 0.25f));  // uint16
  EXPECT_FALSE(scale(-8192, 8191.75f, 0.25f));
  EXPECT_FALSE(scale(-INFINITY, INFINITY, 0));
  EXPECT_MESSAGE(calibrate_values({1, 2}, CalibrationMethod::model), "no activation scales of its own");
}

TEST(Calibrate, PercentileLeavesTheOutliersOut) {
  std::vector<float> values(1000);
  for (int i = 0; i < 1000; ++i) values[i] = float(i + 1) / 1000;
  values[999] = 100;
  // 99 % of the values are at most 0.99; the histogram's bins are 100 / 8192 wide
  const double clip = calibrate_values(values, CalibrationMethod::percentile, 99).formats[1].scale * 255;
  EXPECT_GE(clip, 0.99);
  EXPECT_LE(clip, 0.99 + 2 * 100.0 / 8192);
  EXPECT_EQ(calibrate_values(values, CalibrationMethod::percentile, 100).formats[1].scale, float(100.0 / 255));
}

TEST(Calibrate, LeastSquaresBeatsMaximumAndIsCloseToADenseScan) {
  std::mt19937 generator(3);
  std::uniform_real_distribution<float> uniform(0, 1);
  // step^2 / 12 for 200000 values: an outlier of 1.15 costs 0.34 unclipped, 0.26 + 0.15^2 clipped at 1
  std::vector<float> values(200000);
  for (float& value : values) value = uniform(generator);
  values[7] = 1.15f;
  const auto error_at = [&](double scale) {
    double error = 0;
    for (const float value : values) {
      const double difference = value - scale * std::min(std::rint(value / scale), 255.0);
      error += difference * difference;
    }
    return error;
  };
  const double found = error_at(calibrate_values(values, CalibrationMethod::least_squares).formats[1].scale);
  double best = error_at(calibrate_values(values, CalibrationMethod::maximum).formats[1].scale);
  EXPECT_LT(found, 0.9 * best);
  const double largest = *std::max_element(values.begin(), values.end());
  for (int step = 0; step < 300; ++step) best = std::min(best, error_at(largest * std::pow(0.99, step) / 255));
  // candidates are 2.2 % apart, so at most 1.1 % from the optimum, where the error grows with the square
  EXPECT_LT(found, 1.02 * best);
}

TEST(Calibrate, KeepsAdoptsAndDerivesFormats) {
  Network network;
  const Shape shape{1, 1, 2};
  network.layers.push_back({"input", Input{}, {}, shape});                               // 0
  network.layers.push_back({"a", pointwise(1, {1}, {0}), {0}, shape, 0});                // 1
  network.layers.push_back({"b", pointwise(1, {3}, {0}), {0}, shape, 0});                // 2
  network.layers.push_back({"signed", pointwise(1, {5}, {0}), {0}, shape});              // 3
  network.layers.push_back({"pool", Pool{Pool::Kind::max, {}}, {1}, shape});             // 4
  network.layers.push_back({"concat", Concat{}, {4, 2}, {2, 1, 2}});                     // 5
  network.layers.push_back({"move", Rearrange{{1, 0}}, {3}, shape});                     // 6
  network.layers.push_back({"mixed", Concat{}, {5, 6}, {3, 1, 2}});                      // 7
  network.layers.push_back({"average", Pool{Pool::Kind::average, {}}, {5}, {2, 1, 2}});  // 8
  network.layers.push_back({"gate", Function{Function::Kind::sigmoid}, {3}, shape});     // 9
  network.layers.push_back({"sum", Add{}, {2, 6}, shape});                               // 10
  network.layers.push_back({"input pool", Pool{Pool::Kind::max, {}}, {0}, shape});       // 11
  network.layers.push_back({"logits", pointwise(1, {1, 1, 1}, {0}), {7}, shape});        // 12
  const std::vector<float> image = {1, -0.5f};
  const std::vector<ActivationFormat> formats = calibrate(network, image, 1, CalibrationMethod::maximum).formats;

  // the pool and, through it, its producer round to the concatenation's format; b has a second consumer
  EXPECT_EQ(formats[5].scale, float(3.0 / 255));
  EXPECT_EQ(formats[4].scale, formats[5].scale);
  EXPECT_EQ(formats[1].scale, formats[5].scale);
  EXPECT_EQ(formats[2].scale, float(3.0 / 255));
  // moving keeps the signed format of its input, which has other consumers, so the mixed concatenation is not adopted
  EXPECT_EQ(formats[6].scale, formats[3].scale);
  EXPECT_EQ(formats[3].scale, float(5.0 / 127));
  EXPECT_TRUE(formats[6].is_signed);
  EXPECT_TRUE(formats[7].is_signed);
  EXPECT_FALSE(formats[5].is_signed);
  EXPECT_FALSE(formats[8].is_signed);
  EXPECT_FALSE(formats[9].is_signed);
  EXPECT_TRUE(formats[10].is_signed);
  EXPECT_EQ(formats[11].scale, formats[0].scale);
  EXPECT_TRUE(formats[11].is_signed);
}

TEST(Calibrate, CallsNoFunctionUnsignedThatCanBeNegative) {
  for (const Function::Kind kind : function_kinds) {
    for (const float sign : {1.0f, -1.0f}) {
      const Function function{kind, sign * 0.75f, sign * 0.5f};
      for (const bool non_negative : {false, true}) {
        if (!gives_non_negative(function, non_negative)) continue;
        for (int i = non_negative ? 0 : -64; i <= 64; ++i) {
          EXPECT_GE(naive_function<double>(function, i / 8.0), 0) << int(kind) << " of " << i / 8.0;
        }
      }
    }
  }
  EXPECT_TRUE(gives_non_negative({Function::Kind::softplus}, false));
  EXPECT_TRUE(gives_non_negative({Function::Kind::gelu, 0.5f}, true));
  EXPECT_FALSE(gives_non_negative({Function::Kind::linear, -1, 0}, true));
}

TEST(Calibrate, AProducerWithAnotherConsumerKeepsItsOwnScale) {
  Network network;
  const Shape shape{1, 1, 2};
  network.layers.push_back({"input", Input{}, {}, shape});
  network.layers.push_back({"small", pointwise(1, {1}, {0}), {0}, shape, 0});
  network.layers.push_back({"large", pointwise(1, {3}, {0}), {0}, shape, 0});
  network.layers.push_back({"moved", Rearrange{{1, 0}}, {1}, shape});
  network.layers.push_back({"concat", Concat{}, {3, 2}, {2, 1, 2}});
  network.layers.push_back({"logits", pointwise(1, {1, 1}, {0}), {4}, shape});
  const std::vector<float> image = {1, -0.5f};
  EXPECT_EQ(calibrate(network, image, 1, CalibrationMethod::maximum).formats[1].scale, float(3.0 / 255));
  network.layers.push_back({"elsewhere", pointwise(1, {1}, {0}), {1}, shape});
  for (const int seen_elsewhere : {1, 3}) {
    network.layers.back().inputs = {seen_elsewhere};
    const std::vector<ActivationFormat> formats = calibrate(network, image, 1, CalibrationMethod::maximum).formats;
    EXPECT_EQ(formats[1].scale, float(1.0 / 255));
    EXPECT_EQ(formats[3].scale, float(1.0 / 255));
    EXPECT_EQ(formats[4].scale, float(3.0 / 255));
  }
}

TEST(Calibrate, SameFormatsForAnyNumberOfThreads) {
  std::mt19937 generator(9);
  std::normal_distribution<float> normal;
  std::vector<float> images(2 * 37);
  for (float& value : images) value = normal(generator);
  const int threads = thread_count();
  for (const CalibrationMethod method :
       {CalibrationMethod::maximum, CalibrationMethod::percentile, CalibrationMethod::least_squares}) {
    set_thread_count(1);
    const Calibration one = calibrate(two_layers(), images, 37, method, 90);
    set_thread_count(5);
    const Calibration five = calibrate(two_layers(), images, 37, method, 90);
    set_thread_count(threads);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(one.formats[i].scale, five.formats[i].scale);
  }
}

TEST(Calibrate, RejectsBadInput) {
  const std::vector<float> images = {1, 1};
  EXPECT_NE(message_of([&] { calibrate(two_layers(), images, 2, CalibrationMethod::maximum); }), "");
  EXPECT_NE(message_of([&] { calibrate(two_layers(), {}, 0, CalibrationMethod::maximum); }), "");
  EXPECT_NE(message_of([&] { calibrate(two_layers(), images, 1, CalibrationMethod::percentile, 0); }), "");
  Network broken = two_layers();
  std::get<Convolution>(broken.layers[1].operation).bias[0] = INFINITY;
  EXPECT_NE(message_of([&] { calibrate(broken, images, 1, CalibrationMethod::maximum); }).find("hidden"),
            std::string::npos);
}

TEST(Calibrate, DeadTensorsHaveAScale) {
  EXPECT_EQ(calibrate_values({0, -1}, CalibrationMethod::least_squares).formats[1].scale, 1.0f);
}

TEST(IntegerNetwork, RequantizationByHand) {
  Calibration calibration;
  calibration.formats = {{1, true}, {0.5f, false}, {1, true}};
  IntegerNetwork network = make_integer(two_layers(), calibration, {}, bytes_as_they_are(2), quantize);
  // largest input is 1, at byte 0
  EXPECT_EQ(network.formats[0].scale, float(1.0 / 127));
  EXPECT_EQ(network.input_table[0], -127);
  EXPECT_EQ(network.input_table[128], 0);
  EXPECT_EQ(network.input_table[128 + 64], 64);  // 0.5 * 127 = 63.5, half to even
  EXPECT_EQ(network.input_table[256 + 255], 126);
  EXPECT_TRUE(network.weights[0].values.empty());
  ASSERT_EQ(network.weights[1].values.size(), 4u);

  QuantizedWeights weights = network.weights[1];
  weights.scales = {0.125f, 0.25f};
  network.formats[0].scale = 0.5f;
  const Requantization hidden = requantization(network, 1, weights);
  EXPECT_EQ(hidden.bias, (std::vector<std::int32_t>{0, 2}));          // 0.25 / (0.5 * 0.25)
  EXPECT_EQ(hidden.multiplier, (std::vector<float>{0.125f, 0.25f}));  // 0.5 * scale / 0.5
  const Requantization last = requantization(network, 2, weights);    // without the output's scale
  EXPECT_EQ(last.bias, (std::vector<std::int32_t>{0, -8}));           // -1 / (0.5 * 0.25)
  EXPECT_EQ(last.multiplier, (std::vector<float>{0.0625f, 0.125f}));
}

TEST(IntegerNetwork, IntegerArithmeticApproximatesTheFloatNetwork) {
  const Network network = two_layers();
  const InputTable table = bytes_as_they_are(2);
  std::vector<float> images;
  std::vector<int> bytes;
  for (int a = 0; a < 256; a += 15) {
    for (int b = 0; b < 256; b += 15) {
      bytes.insert(bytes.end(), {a, b});
      images.insert(images.end(), {table[a], table[256 + b]});
    }
  }
  const int count = int(images.size() / 2);
  const Calibration calibration = calibrate(network, images, count, CalibrationMethod::maximum);
  const IntegerNetwork integer = make_integer(network, calibration, {}, table, quantize);
  const std::vector<float> expected = run_float(network, images, count);
  const Requantization hidden = requantization(integer, 1, integer.weights[1]);
  const Requantization last = requantization(integer, 2, integer.weights[2]);
  for (int image = 0; image < count; ++image) {
    int activations[2];
    for (int f = 0; f < 2; ++f) {
      int sum = hidden.bias[f];
      for (int c = 0; c < 2; ++c) {
        sum += integer.weights[1].values[f * 2 + c] * integer.input_table[c * 256 + bytes[image * 2 + c]];
      }
      activations[f] = int(std::clamp(std::rint(float(sum) * hidden.multiplier[f]), 0.0f, 255.0f));
    }
    for (int f = 0; f < 2; ++f) {
      int sum = last.bias[f];
      for (int c = 0; c < 2; ++c) sum += integer.weights[2].values[f * 2 + c] * activations[c];
      // values up to 2.3: steps of 1/127 (input, weights) and 2.3 / 255 (hidden), half a step wrong each, summed
      EXPECT_NEAR(float(sum) * last.multiplier[f], expected[image * 2 + f], 0.05);
    }
  }
}

TEST(IntegerNetwork, OverflowNamesLayerAndFilter) {
  Network network;
  network.layers.push_back({"input", Input{}, {}, {20000, 1, 1}});
  std::vector<float> weights(40000, 0.0f);
  std::fill(weights.begin() + 20000, weights.end(), 1.0f);
  network.layers.push_back({"wide", pointwise(2, weights, {0, 0}), {0}, {2, 1, 1}});
  Calibration calibration;
  calibration.formats = {{1, true}, {1, true}};
  const InputTable table = bytes_as_they_are(20000);
  // 20000 weights of 127 at most, times 127: fits. 10 bits: 511 * 127 * 20000 = 1.3e9 fits, 12 bits: 5.2e9 does not,
  // unless the search for the scale finds smaller integers for equal weights, so one weight is 1 / 2047 of the others
  std::get<Convolution>(network.layers[1].operation).weights[39999] = 1.0f / 2047;
  EXPECT_EQ(message_of([&] { make_integer(network, calibration, {8}, table, quantize); }), "");
  const std::string message = message_of([&] { make_integer(network, calibration, {12}, table, quantize); });
  EXPECT_NE(message.find("wide"), std::string::npos) << message;
  EXPECT_NE(message.find("filter 1"), std::string::npos) << message;
}

TEST(IntegerNetwork, ABiasFarAboveItsWeightsFits) {
  Network network = two_layers();
  std::get<Convolution>(network.layers[1].operation) = pointwise(2, {1e-12f, 0, 0, 0}, {3, -4});
  Calibration calibration;
  calibration.formats = {{1, true}, {0.5f, false}, {1, true}};
  const IntegerNetwork integer = make_integer(network, calibration, {}, bytes_as_they_are(2), quantize);
  const Requantization hidden = requantization(integer, 1, integer.weights[1]);
  EXPECT_NEAR(double(hidden.bias[0]) * hidden.multiplier[0] * 0.5, 3, 1e-5);
  EXPECT_NEAR(double(hidden.bias[1]) * hidden.multiplier[1] * 0.5, -4, 1e-5);
}

TEST(IntegerNetwork, QuantizeLayerGivesTheFormatAskedFor) {
  Calibration calibration;
  calibration.formats = {{1, true}, {0.5f, false}, {1, true}};
  const IntegerNetwork integer = make_integer(two_layers(), calibration, {}, bytes_as_they_are(2), quantize);
  const WeightFormat one_term = format_of(8, Encoding::binary, 1);
  const QuantizedWeights weights = quantize_layer(integer, 1, one_term, quantize);
  EXPECT_EQ(weights.format, one_term);
  for (const int value : weights.values) EXPECT_LE(count_terms(Encoding::binary, std::abs(value)), 1);
}

TEST(IntegerNetwork, RejectsBadInput) {
  Calibration calibration;
  calibration.formats = {{1, true}, {0.5f, false}, {1, true}};
  const InputTable table = bytes_as_they_are(2);
  const IntegerNetwork integer = make_integer(two_layers(), calibration, {}, table, quantize);
  EXPECT_NE(message_of([&] { quantize_layer(integer, 0, {}, quantize); }), "");
  EXPECT_NE(message_of([&] { quantize_layer(integer, 7, {}, quantize); }), "");
  EXPECT_NE(message_of([&] { requantization(integer, 1, {}); }).find("hidden"), std::string::npos);
  EXPECT_NE(message_of([&] { make_integer(two_layers(), {}, {}, table, quantize); }), "");
  EXPECT_NE(message_of([&] { make_integer(two_layers(), calibration, {}, bytes_as_they_are(1), quantize); }), "");
  Network broken = two_layers();
  std::get<Convolution>(broken.layers[2].operation).weights[1] = NAN;
  EXPECT_NE(message_of([&] { make_integer(broken, calibration, {}, table, quantize); }).find("classifier"),
            std::string::npos);
}

}  // namespace
}  // namespace bitcluster
