#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <optional>
#include <random>

#include "host/base/parallel.hpp"
#include "host/cpu/backend.hpp"
#include "host/cpu/compensate.hpp"
#include "host/cpu/observe_grams.hpp"
#include "host/cpu/quantize.hpp"
#include "host/weights/preparation.hpp"
#include "host/weights/sorted_magnitudes.hpp"
#include "tests/expect_message.hpp"
#include "tests/naive_integer.hpp"
#include "tests/network_builder.hpp"
#include "tests/weight_formats.hpp"

namespace bitcluster {
namespace {

/// Inputs of one group that depend on each other, as those of a network do: (positions, inputs).
std::vector<int> related_inputs(int inputs, int positions, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> mixture(std::size_t(inputs) * 3);
  for (double& factor : mixture) factor = 30 * normal(random);
  std::vector<int> values;
  for (int position = 0; position < positions; ++position) {
    const double hidden[3] = {normal(random), normal(random), normal(random)};
    for (int i = 0; i < inputs; ++i) {
      double value = 10 * normal(random);
      for (int k = 0; k < 3; ++k) value += mixture[std::size_t(i) * 3 + k] * hidden[k];
      values.push_back(std::clamp(int(value), 0, 255));
    }
  }
  return values;
}

/// groups: (positions, inputs) each.
InputGram gram_of(const std::vector<std::vector<int>>& groups, int inputs, int largest_block = largest_gram_block) {
  InputGram gram(int(groups.size()), inputs, largest_block);
  for (int group = 0; group < int(groups.size()); ++group) {
    const std::vector<int>& values = groups[group];
    gram.positions = std::int64_t(values.size()) / inputs;
    for (std::int64_t position = 0; position < gram.positions; ++position) {
      const int* x = values.data() + position * inputs;
      for (int i = 0; i < inputs; ++i) gram.sums[std::size_t(group) * inputs + i] += x[i];
      for (int block = 0; block < gram.blocks(); ++block) {
        std::int64_t* product = gram.products.data() + gram.triangle(group, block);
        for (int i = gram.starts[block]; i < gram.starts[block + 1]; ++i) {
          for (int j = gram.starts[block]; j <= i; ++j) *product++ += std::int64_t(x[i]) * x[j];
        }
      }
    }
  }
  return gram;
}

std::vector<float> random_weights(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.05f);
  std::vector<float> weights(count);
  for (float& weight : weights) weight = normal(random);
  return weights;
}

const Kernels& portable() { return *find_kernels("portable"); }

QuantizedWeights compensated(const Kernels& kernels, const InputGram& gram, std::span<const float> weights, int filters,
                             const WeightFormat& format) {
  const QuantizedWeights nearest = quantize(weights, filters, format, {});
  return CompensatedRounding(kernels, gram).round(weights, nearest, {}, 0, filters);
}

void expect_equal(const QuantizedWeights& found, const QuantizedWeights& expected) {
  EXPECT_EQ(found.values, expected.values);
  EXPECT_EQ(found.scales, expected.scales);
  EXPECT_EQ(found.bias_change, expected.bias_change);
}

/// Squared error of a filter's output over the positions.
double output_error(const std::vector<int>& inputs, std::span<const float> weights,
                    std::span<const std::int16_t> values, double scale) {
  double error = 0;
  for (std::size_t position = 0; position < inputs.size(); position += weights.size()) {
    double difference = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      difference += (scale * values[i] - double(weights[i])) * inputs[position + i];
    }
    error += difference * difference;
  }
  return error;
}

/// Optimal brain surgeon as its papers write it: H^-1 is worked out, every rounding error is spread over the weights
/// that are left by a column of it, and the weight's row and column are eliminated.
std::vector<int> round_by_inverse(const InputGram& gram, std::span<const float> weights, double scale,
                                  const std::vector<int>& allowed) {
  const int size = gram.inputs;
  std::vector<long double> matrix(std::size_t(size) * 2 * size);  // H beside the identity
  const auto product = [&](int i, int j) {
    return gram.products[std::max(i, j) * (std::max(i, j) + 1) / 2 + std::min(i, j)];
  };
  long double trace = 0;
  for (int i = 0; i < size; ++i) trace += product(i, i);
  for (int i = 0; i < size; ++i) {
    for (int j = 0; j < size; ++j) matrix[std::size_t(i) * 2 * size + j] = product(i, j);
    matrix[std::size_t(i) * 2 * size + i] += trace > 0 ? trace / size / 100 : 1;
    matrix[std::size_t(i) * 2 * size + size + i] = 1;
  }
  for (int pivot = 0; pivot < size; ++pivot) {
    long double* const row = matrix.data() + std::size_t(pivot) * 2 * size;
    const long double divisor = row[pivot];
    for (int j = 0; j < 2 * size; ++j) row[j] /= divisor;
    for (int i = 0; i < size; ++i) {
      if (i == pivot) continue;
      long double* const other = matrix.data() + std::size_t(i) * 2 * size;
      const long double factor = other[pivot];
      for (int j = 0; j < 2 * size; ++j) other[j] -= factor * row[j];
    }
  }
  const auto inverse = [&](int i, int j) -> long double& { return matrix[std::size_t(i) * 2 * size + size + j]; };

  std::vector<int> order(size);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return product(a, a) > product(b, b); });
  std::vector<long double> left(weights.begin(), weights.end());
  std::vector<int> values(size);
  for (int t = 0; t < size; ++t) {
    const int own = order[t];
    int best = 0;
    for (const int magnitude : allowed) {
      for (const int value : {magnitude, -magnitude}) {
        if (std::abs(left[own] - scale * value) < std::abs(left[own] - scale * best)) best = value;
      }
    }
    values[own] = best;
    const long double error = (left[own] - (long double)(scale)*best) / inverse(own, own);
    for (int u = t + 1; u < size; ++u) left[order[u]] -= error * inverse(order[u], own);
    for (int u = t + 1; u < size; ++u) {
      for (int v = t + 1; v < size; ++v) {
        inverse(order[u], order[v]) -= inverse(order[u], own) * inverse(own, order[v]) / inverse(own, own);
      }
    }
  }
  return values;
}

TEST(Compensation, EqualsTheTextbooksWayThroughTheInverse) {
  // 100 inputs are more than one block of rows; as few positions as inputs make H as good as singular
  for (const auto& [inputs, positions] : {std::pair{1, 5}, {7, 300}, {100, 1000}, {100, 90}, {70, 3}}) {
    const int filters = 6;
    const InputGram gram = gram_of({related_inputs(inputs, positions, 1)}, inputs);
    const std::vector<float> weights = random_weights(std::size_t(filters) * inputs, 2);
    for (const WeightFormat& format :
         {format_of(8, Encoding::binary, 1), format_of(8, Encoding::signed_digit, 2), format_of(4, Encoding::binary, 0),
          format_of(16, Encoding::binary, 3), format_of(8, Encoding::binary, 2, true)}) {
      const QuantizedWeights found = compensated(best_kernels(), gram, weights, filters, format);
      std::vector<int> allowed;
      for (const double magnitude : format.preparation->scale_search(format).values.nearest) {
        if (allowed.empty() || allowed.back() != int(magnitude)) allowed.push_back(int(magnitude));
      }
      for (int filter = 0; filter < filters; ++filter) {
        const auto own = std::span(weights).subspan(std::size_t(filter) * inputs, inputs);
        const std::vector<int> expected = round_by_inverse(gram, own, found.scales[filter], allowed);
        const auto begin = found.values.begin() + std::ptrdiff_t(filter) * inputs;
        EXPECT_EQ(std::vector<int>(begin, begin + inputs), expected) << inputs << " inputs, filter " << filter;
      }
    }
  }
}

TEST(Compensation, LowersTheErrorOfTheOutput) {
  const int inputs = 144, filters = 32;
  const std::vector<int> values = related_inputs(inputs, 2000, 3);
  const InputGram gram = gram_of({values}, inputs);
  const std::vector<float> weights = random_weights(std::size_t(filters) * inputs, 4);
  for (const WeightFormat& format :
       {format_of(8, Encoding::binary, 1), format_of(8, Encoding::binary, 2), format_of(6, Encoding::binary, 0),
        pruned_format(Encoding::binary, 2), format_of(8, Encoding::binary, 2, false, false)}) {
    const QuantizedWeights nearest = quantize(weights, filters, format, {});
    const QuantizedWeights found = CompensatedRounding(best_kernels(), gram).round(weights, nearest, {}, 0, filters);
    double before = 0, after = 0;
    for (int filter = 0; filter < filters; ++filter) {
      const auto own = std::span(weights).subspan(std::size_t(filter) * inputs, inputs);
      const auto part = [&](const QuantizedWeights& of) {
        return output_error(values, own, std::span(of.values).subspan(std::size_t(filter) * inputs, inputs),
                            of.scales[filter]);
      };
      before += part(nearest);
      after += part(found);
    }
    EXPECT_LT(after, before / 2) << to_string(format.encoding) << " " << format.terms;
    if (!format.per_channel) {
      EXPECT_EQ(std::ranges::count(found.scales, found.scales[0]), filters);
    }
  }
}

TEST(Compensation, KeepsToTheAllowedMagnitudes) {
  const int inputs = 50, filters = 8;
  const InputGram gram = gram_of({related_inputs(inputs, 200, 5)}, inputs);
  const std::vector<float> weights = random_weights(std::size_t(filters) * inputs, 6);
  for (const int bits : {4, 8, 16}) {
    for (const Encoding encoding : {Encoding::binary, Encoding::signed_digit}) {
      for (const int terms : {1, 2, 3}) {
        const QuantizedWeights found =
            compensated(best_kernels(), gram, weights, filters, format_of(bits, encoding, terms));
        EXPECT_EQ(found.format.rounding, Rounding::compensated);
        for (const int value : found.values) {
          EXPECT_LT(std::abs(value), 1 << (bits - 1));
          EXPECT_LE(count_terms(encoding, std::abs(value)), terms);
        }
      }
    }
  }
  for (const int value :
       compensated(best_kernels(), gram, weights, filters, pruned_format(Encoding::binary, 2)).values) {
    EXPECT_LE(count_terms(Encoding::binary, std::abs(value)), 2);
  }
}

TEST(Compensation, TheBiasTakesUpTheMeanError) {
  const int inputs = 36, filters = 4;
  const std::vector<int> values = related_inputs(inputs, 500, 7);
  const InputGram gram = gram_of({values}, inputs);
  const std::vector<float> weights = random_weights(std::size_t(filters) * inputs, 8);
  const QuantizedWeights found = compensated(best_kernels(), gram, weights, filters, format_of(8, Encoding::binary, 1));
  for (int filter = 0; filter < filters; ++filter) {
    double error = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::size_t at = std::size_t(filter) * inputs + i % inputs;
      error += (double(found.scales[filter]) * found.values[at] - double(weights[at])) * values[i];
    }
    EXPECT_NEAR(error / 500, -found.bias_change[filter], 1e-6 * std::abs(found.bias_change[filter]));
  }
}

TEST(Compensation, IsTheSameForAnyKernelsThreadsAndShares) {
  struct Case {
    int groups, inputs, filters;
  };
  for (const auto& [groups, inputs, filters] : {Case{1, 300, 150}, Case{3, 20, 12}, Case{40, 9, 40}}) {
    std::vector<std::vector<int>> values;
    for (int group = 0; group < groups; ++group) values.push_back(related_inputs(inputs, 400, unsigned(group)));
    const InputGram gram = gram_of(values, inputs);
    const std::vector<float> weights = random_weights(std::size_t(filters) * inputs, 9);
    const WeightFormat format = format_of(8, Encoding::signed_digit, 1);
    const QuantizedWeights nearest = quantize(weights, filters, format, {});
    const int threads = thread_count();
    set_thread_count(1);
    const QuantizedWeights expected = CompensatedRounding(portable(), gram).round(weights, nearest, {}, 0, filters);
    set_thread_count(3);
    for (const char* name : {"portable", "avx2", "avx512-vnni"}) {
      if (const Kernels* kernels = find_kernels(name)) {
        expect_equal(CompensatedRounding(*kernels, gram).round(weights, nearest, {}, 0, filters), expected);
      }
    }
    QuantizedWeights parts{expected.format, {}, {}, {}};
    const CompensatedRounding rounding(best_kernels(), gram);
    for (const auto& [first, count] : {std::pair{0, 1}, {1, 6}, {7, filters - 7}}) {
      const QuantizedWeights part = rounding.round(weights, nearest, {}, first, count);
      parts.values.insert(parts.values.end(), part.values.begin(), part.values.end());
      parts.scales.insert(parts.scales.end(), part.scales.begin(), part.scales.end());
      parts.bias_change.insert(parts.bias_change.end(), part.bias_change.begin(), part.bias_change.end());
    }
    expect_equal(parts, expected);
    set_thread_count(threads);
  }
}

TEST(Compensation, InputsThatAreAlwaysZeroChangeNothing) {
  const int inputs = 20, filters = 3;
  const std::vector<float> weights = random_weights(std::size_t(filters) * inputs, 10);
  const WeightFormat format = format_of(8, Encoding::binary, 2);
  const QuantizedWeights nearest = quantize(weights, filters, format, {});
  // all of them: every weight is rounded for itself
  EXPECT_EQ(compensated(best_kernels(), InputGram(1, inputs), weights, filters, format).values, nearest.values);
  // some: those weights are rounded for themselves
  std::vector<int> values = related_inputs(inputs, 100, 11);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % inputs < 5 ? 0 : values[i];
  const QuantizedWeights found = compensated(best_kernels(), gram_of({values}, inputs), weights, filters, format);
  const RoundingTable table = format.preparation->scale_search(format).values;
  for (int filter = 0; filter < filters; ++filter) {
    for (int i = 0; i < 5; ++i) {
      const float weight = weights[std::size_t(filter) * inputs + i];
      const double magnitude =
          table.nearest[exact_place(std::abs(weight) / double(found.scales[filter]), table.last())];
      EXPECT_EQ(std::abs(found.values[std::size_t(filter) * inputs + i]), magnitude);
    }
  }
  // and weights that are all zero
  const QuantizedWeights zeros =
      compensated(best_kernels(), gram_of({values}, inputs), std::vector<float>(weights.size()), filters, format);
  EXPECT_EQ(std::ranges::count(zeros.values, 0), std::ptrdiff_t(weights.size()));
  EXPECT_EQ(zeros.bias_change, std::vector<float>(filters, 0.0f));
}

TEST(Compensation, EndsForWeightsThatAreOnTheGrid) {
  const int inputs = 64;
  std::vector<float> weights;
  for (int i = 0; i < inputs; ++i) weights.push_back(0.0123f * float(i % 2 ? i : -i) / 64);
  const QuantizedWeights found = compensated(best_kernels(), gram_of({related_inputs(inputs, 50, 12)}, inputs), weights,
                                             1, format_of(8, Encoding::binary, 0));
  for (int i = 0; i < inputs; ++i) EXPECT_NEAR(found.values[i] * found.scales[0], weights[i], 1e-6);
}

TEST(Compensation, CutsManyInputsIntoBlocks) {
  const int inputs = largest_gram_block + 100;
  const InputGram gram(1, inputs);
  ASSERT_EQ(gram.blocks(), 2);
  EXPECT_EQ(gram.starts, (std::vector{0, inputs / 2, inputs}));
  EXPECT_EQ(gram.products.size(), std::size_t(inputs / 2) * (inputs / 2 + 1));
  EXPECT_EQ(gram.triangle(0, 1), gram.products.size() / 2);

  // small ones: every block is rounded as if the others were not there
  const int few = 50, filters = 3;
  const std::vector<int> values = related_inputs(few, 200, 14);
  const InputGram whole = gram_of({values, values}, few, 20);
  EXPECT_EQ(whole.starts, (std::vector{0, 16, 33, 50}));
  const std::vector<float> weights = random_weights(std::size_t(2 * filters) * few, 15);
  const WeightFormat format = format_of(8, Encoding::binary, 0);
  const QuantizedWeights found = compensated(best_kernels(), whole, weights, 2 * filters, format);
  for (int block = 0; block < whole.blocks(); ++block) {
    const int start = whole.starts[block], size = whole.block_size(block);
    std::vector<int> part;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (int(i) % few >= start && int(i) % few < start + size) part.push_back(values[i]);
    }
    std::vector<int> allowed(128);
    std::iota(allowed.begin(), allowed.end(), 0);
    for (int filter = 0; filter < 2 * filters; ++filter) {
      const std::size_t at = std::size_t(filter) * few + start;
      const std::vector<int> expected =
          round_by_inverse(gram_of({part}, size), std::span(weights).subspan(at, size), found.scales[filter], allowed);
      EXPECT_EQ(std::vector<int>(found.values.begin() + at, found.values.begin() + at + size), expected);
    }
  }
}

TEST(Compensation, ScalesWeighWhatInputsWeigh) {
  const std::vector<float> weights = random_weights(40, 13);
  std::vector<double> importance(40);
  for (std::size_t i = 0; i < importance.size(); ++i) importance[i] = double(i * i);
  const WeightFormat format = format_of(8, Encoding::binary, 1);
  const ScaleSearch search = format.preparation->scale_search(format);
  const auto error = [&](double scale) {
    double sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      const RoundingTable& table = search.values;
      const double magnitude = table.nearest[exact_place(std::abs(weights[i]) / scale, table.last())];
      sum += importance[i] * std::pow(std::abs(weights[i]) - scale * magnitude, 2);
    }
    return sum;
  };
  const float found = SortedMagnitudes(weights, importance).best_scale(search, 0);
  const float largest = std::abs(*std::ranges::max_element(weights, {}, [](float w) { return std::abs(w); }));
  for (const double factor : candidate_factors().coarse) {
    EXPECT_LE(error(found), error(admissible_scale(largest / 127 * factor, 0)) * (1 + 1e-9));
  }
  EXPECT_LE(error(found), error(quantize(weights, 1, format, {}).scales[0]));
  EXPECT_EQ(SortedMagnitudes(weights, importance).best_scale(search, 1), 1);  // the minimum
}

TEST(Compensation, QuantizersWithoutInputsRefuseIt) {
  WeightFormat format = format_of(8, Encoding::binary, 1);
  format.rounding = Rounding::compensated;
  EXPECT_NE(message_of([&] { quantize(random_weights(10, 1), 1, format, {}); }).find("compensation"),
            std::string::npos);
}

/// Grams of every layer as the definition has them, of integers that the naive reference computes.
class GramTest : public testing::TestWithParam<const char*> {};

TEST_P(GramTest, EqualTheDefinition) {
  const Kernels* kernels = find_kernels(GetParam());
  if (!kernels) GTEST_SKIP() << "this processor has no " << GetParam();
  NetworkBuilder builder(5, {4, 9, 11});
  int layer = builder.spread(0, true);
  layer = builder.convolution(layer, 24, {.kernel_h = 3, .kernel_w = 2, .stride_h = 2, .pad_top = 1, .pad_right = 1});
  layer = builder.convolution(layer, 12, {.kernel_h = 3, .kernel_w = 3, .dilation_w = 2, .pad_left = 2}, 2, 8, true);
  layer = builder.convolution(layer, 24, {.kernel_h = 2, .kernel_w = 2}, 12);
  builder.fully_connected(layer, 3);
  const IntegerNetwork& network = builder.network();
  const std::vector<int> layers = weighted_layers(network.network);
  const int images = 37;  // a last pair of positions that is half empty, and more positions than are gathered at a time
  const std::vector<std::uint8_t> pixels = builder.images(images);
  const auto backend = make_cpu_backend(*kernels);
  backend->load(network);
  std::vector<std::vector<std::vector<std::int16_t>>> seen(layers.size());  // by layer and image
  backend->observe_inputs({pixels.data(), images}, {}, [&](int, int at, std::span<const std::int16_t> values) {
    seen[std::size_t(std::ranges::find(layers, at) - layers.begin())].emplace_back(values.begin(), values.end());
  });

  const std::vector<InputGram> found = observe_grams(*kernels, *backend, network, layers, {pixels.data(), images});
  const std::size_t image_size = network.network.input().size();
  const std::vector<InputGram> first = observe_grams(*kernels, *backend, network, layers, {pixels.data(), 10});
  const std::vector<InputGram> second =
      observe_grams(*kernels, *backend, network, layers, {pixels.data() + 10 * image_size, images - 10});
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Layer& description = network.network.layers[layers[i]];
    const auto& convolution = std::get<Convolution>(description.operation);
    const Window& window = convolution.window;
    const Shape& from = network.network.layers[description.inputs[0]].output;
    const int channels = from.channels / convolution.groups, kernel = window.kernel_h * window.kernel_w;
    std::vector<std::vector<int>> columns(convolution.groups);
    for (const std::vector<std::int16_t>& values : seen[i]) {
      for (int group = 0; group < convolution.groups; ++group) {
        for (int y = 0; y < description.output.height; ++y) {
          for (int x = 0; x < description.output.width; ++x) {
            for (int at = 0; at < channels * kernel; ++at) {
              const int c = group * channels + at / kernel;
              const int iy = y * window.stride_h - window.pad_top + at % kernel / window.kernel_w * window.dilation_h;
              const int ix = x * window.stride_w - window.pad_left + at % window.kernel_w * window.dilation_w;
              const bool inside = iy >= 0 && iy < from.height && ix >= 0 && ix < from.width;
              columns[group].push_back(inside ? values[(c * from.height + iy) * from.width + ix] : 0);
            }
          }
        }
      }
    }
    const InputGram expected = gram_of(columns, channels * kernel);
    EXPECT_EQ(found[i].positions, expected.positions);
    EXPECT_EQ(found[i].sums, expected.sums);
    EXPECT_EQ(found[i].products, expected.products);
    std::vector<std::int64_t> sum = first[i].products;
    for (std::size_t at = 0; at < sum.size(); ++at) sum[at] += second[i].products[at];
    EXPECT_EQ(sum, expected.products);
  }
  // of some layers only
  const std::vector<InputGram> last =
      observe_grams(*kernels, *backend, network, std::span(layers).last(1), {pixels.data(), images});
  EXPECT_EQ(last[0].products, found.back().products);
}

INSTANTIATE_TEST_SUITE_P(Sets, GramTest, testing::Values("portable", "avx2", "avx512-vnni"),
                         [](const auto& info) { return info.index == 2 ? "avx512_vnni" : std::string(info.param); });

}  // namespace
}  // namespace bitcluster
