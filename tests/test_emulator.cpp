#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/base/parallel.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/expect_message.hpp"
#include "tests/expect_slots.hpp"
#include "tests/naive_emulation.hpp"
#include "tests/random_layer.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

void expect_equal(const LayerEmulation& result, const Naive& naive) {
  EXPECT_EQ(result.compute_cycles, naive.compute_cycles);
  EXPECT_EQ(result.slots.total, naive.slots.total);
  EXPECT_EQ(result.slots.useful, naive.slots.useful);
  EXPECT_EQ(result.slots.edge, naive.slots.edge);
  EXPECT_EQ(result.slots.lane, naive.slots.lane);
  EXPECT_EQ(result.slots.row_column, naive.slots.row_column);
  EXPECT_EQ(result.slots.null_term, naive.slots.null_term);
}

class EveryDesign : public testing::TestWithParam<std::string_view> {};

TEST_P(EveryDesign, EqualsTheNaiveReferenceOnRandomLayers) {
  std::mt19937 random(7);
  for (int repeat = 0; repeat < 120; ++repeat) {
    SCOPED_TRACE(repeat);
    TestLayer layer = random_layer(random);
    const Accelerator accelerator = random_array(random, GetParam());
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    expect_equal(result, emulate_naively(accelerator, layer));
    expect_slots_add_up(result, accelerator);
    EXPECT_EQ(result.cycles, result.compute_cycles);
    if (HasFailure()) break;
  }
}

TEST_P(EveryDesign, DoesNotDependOnTheNumberOfThreads) {
  std::mt19937 random(8);
  const int threads = thread_count();
  for (int repeat = 0; repeat < 10; ++repeat) {
    const TestLayer layer = random_layer(random);
    const Accelerator accelerator = random_array(random, GetParam());
    std::vector<LayerEmulation> results;
    for (const int wanted : {1, 2, 5}) {
      set_thread_count(wanted);
      results.push_back(emulate(accelerator, layer.tensors()));
    }
    set_thread_count(threads);
    for (const LayerEmulation& result : results) {
      EXPECT_EQ(result.compute_cycles, results[0].compute_cycles);
      EXPECT_EQ(result.slots.useful, results[0].slots.useful);
      EXPECT_EQ(result.slots.lane, results[0].slots.lane);
      EXPECT_EQ(result.slots.row_column, results[0].slots.row_column);
      EXPECT_EQ(result.energy.total(), results[0].energy.total());
    }
  }
}

TEST_P(EveryDesign, WorksOnZerosAndPartialArrays) {
  Window window;
  window.kernel_h = 3;
  window.kernel_w = 2;
  window.stride_w = 2;
  for (const int tiles : {1, 2}) {
    const TestLayer layer = make_layer(5, {7, 6, 5}, window);  // all zero, 4 x 2 pixels
    const Accelerator accelerator = array(GetParam(), 4, 3, 3, tiles);
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    const int steps = 3 * (tiles == 1 ? 2 : 1) * 6 * 2;  // pixel sets, batches, taps, bricks
    std::map<std::string_view, int> cycles = {{"stripes", 8}, {"bitcluster", 7}, {"loom", 8}};
    const int step = cycles.contains(GetParam()) ? cycles[GetParam()] : 1;
    EXPECT_EQ(result.compute_cycles, steps * step);
    EXPECT_EQ(result.slots.useful, GetParam() == "bit_parallel" ? 5 * 7 * 6 * 8 : 0);
    if (accelerator.slots_per_element() == accelerator.lanes) {
      EXPECT_EQ(result.slots.edge, result.slots.total - std::int64_t(5) * 7 * 6 * 8 * step);
    }
    expect_slots_add_up(result, accelerator);
  }
}

std::vector<std::string_view> with_naive_rule() {
  std::vector<std::string_view> names;
  for (const auto& [name, rule] : element_rules()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Designs, EveryDesign, testing::ValuesIn(with_naive_rule()),
                         [](const auto& info) { return camel_case(info.param); });

// Designs whose steps depend on each other: cycles are those of functional mode and of the peer's rules
// (test_peers.py).
class RunAhead : public testing::TestWithParam<std::pair<std::string_view, int>> {};

TEST_P(RunAhead, SlotsAddUpForAnyNumberOfThreads) {
  std::mt19937 random(9);
  const int threads = thread_count();
  const auto [design, registers] = GetParam();
  for (int repeat = 0; repeat < 60; ++repeat) {
    SCOPED_TRACE(repeat);
    const TestLayer layer = random_layer(random);
    Accelerator accelerator = random_array(random, design);
    accelerator.column_registers = registers;
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    expect_slots_add_up(result, accelerator);
    set_thread_count(3);
    const LayerEmulation again = emulate(accelerator, layer.tensors());
    set_thread_count(threads);
    EXPECT_EQ(again.compute_cycles, result.compute_cycles);
    EXPECT_EQ(again.slots.lane, result.slots.lane);
    EXPECT_EQ(again.slots.row_column, result.slots.row_column);
    EXPECT_EQ(again.energy.total(), result.energy.total());
    // what is useful does not depend on who waits: it is that of the design in lockstep, without zero weights for TCL
    Accelerator lockstep = accelerator;
    lockstep.column_registers = 0;
    const LayerEmulation waiting = emulate(lockstep, layer.tensors());
    EXPECT_EQ(waiting.slots.useful, result.slots.useful);
    EXPECT_EQ(waiting.slots.null_term, result.slots.null_term);
    EXPECT_EQ(waiting.slots.lane, result.slots.lane);
    EXPECT_GE(waiting.compute_cycles, result.compute_cycles);
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Designs, RunAhead,
                         testing::Values(std::pair<std::string_view, int>("dynamic_stripes", 1),
                                         std::pair<std::string_view, int>("pragmatic", 1),
                                         std::pair<std::string_view, int>("pragmatic", 4),
                                         std::pair<std::string_view, int>("tactical_p", 0),
                                         std::pair<std::string_view, int>("tactical_p", 2),
                                         std::pair<std::string_view, int>("tactical_e", 0),
                                         std::pair<std::string_view, int>("tactical_e", 1)),
                         [](const auto& info) {
                           return camel_case(info.param.first) + std::to_string(info.param.second);
                         });

// DNNsim's closed forms (Stripes, Laconic with binary terms) on a square ungrouped layer in its array of 16x16x16.
TEST(Peers, StripesAndLaconicInLockstep) {
  std::mt19937 random(5);
  Window window;
  window.kernel_h = window.kernel_w = 3;
  TestLayer layer = make_layer(40, {20, 9, 9}, window);
  for (auto& weight : layer.weights) weight = std::int16_t(int(random() % 255) - 127);
  for (auto& value : layer.activations) value = std::int16_t(random() % 256 * (random() % 2));
  Accelerator accelerator = array("stripes", 16, 16, 16, 2);
  const std::int64_t window_sets = 4, filter_batches = 2, time = 9 * 2;  // ceil(49/16), ceil(3 sets/2), taps x bricks
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, window_sets * filter_batches * time * 8);
  // Laconic: max over lanes of (largest term count of the lane's weights) x (largest of its activations), at least 1
  std::int64_t cycles = 0;
  for (int set = 0; set < 4; ++set)
    for (int batch = 0; batch < 2; ++batch)
      for (int tap = 0; tap < 9; ++tap)
        for (int brick = 0; brick < 2; ++brick) {
          int step = 1;
          for (int channel = brick * 16; channel < std::min(20, brick * 16 + 16); ++channel) {
            int weight_terms = 0, activation_terms = 0;
            for (int f = batch * 32; f < std::min(40, batch * 32 + 32); ++f) {
              weight_terms =
                  std::max(weight_terms, count(Encoding::binary, layer.weights[(f * 20 + channel) * 9 + tap]));
            }
            for (int p = set * 16; p < std::min(49, set * 16 + 16); ++p) {
              const int y = p / 7 + tap / 3, x = p % 7 + tap % 3;
              activation_terms =
                  std::max(activation_terms, count(Encoding::binary, layer.activations[(channel * 9 + y) * 9 + x]));
            }
            step = std::max(step, weight_terms * activation_terms);
          }
          cycles += step;
        }
  accelerator.design = &design_named("laconic");
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, cycles);
}

TEST(Errors, NameTheLayerAndTheReason) {
  TestLayer layer = make_layer(2, {4, 3, 3});
  const auto message = [&](const char* design) {
    return message_of([&] { emulate(array(design, 4, 4, 4), layer.tensors()); });
  };
  EXPECT_EQ(message("laconic"), "");
  layer.activations.clear();
  EXPECT_NE(message("laconic").find("'layer'"), std::string::npos);
  EXPECT_NE(message("laconic").find("depend on the activations"), std::string::npos);
  EXPECT_EQ(message("bitcluster"), "");
  layer.format.terms = 0;
  EXPECT_NE(message("bitcluster").find("no fixed number of terms"), std::string::npos);
  layer.format.terms = 2;
  layer.weights[3] = -7;
  EXPECT_NE(message("bitcluster").find("weight -7 has 3 terms where N is 2"), std::string::npos);
  layer.format.encoding = Encoding::signed_digit;  // -7 = -8 + 1
  EXPECT_EQ(message("bitcluster"), "");
  layer.weights.pop_back();
  EXPECT_NE(message("bit_parallel").find("number of weights"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.activations.pop_back();
  EXPECT_NE(message("bit_parallel").find("number of activations"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.geometry.groups = 3;
  EXPECT_NE(message("bit_parallel").find("groups"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.geometry.output.height = 2;
  EXPECT_NE(message("bit_parallel").find("output shape"), std::string::npos);
  layer = make_layer(2, {4, 3, 3});
  layer.geometry.fully_connected = true;
  EXPECT_NE(message("bit_parallel").find("fully connected"), std::string::npos);
}

TEST(Errors, OfARuleThatWorksOnOtherSlotsThanItsDesignHas) {
  for (const DesignInfo* known : designs()) {
    DesignInfo design = *known;
    design.slots = [](const Accelerator& accelerator) { return accelerator.lanes + 1; };
    Accelerator wrong = array(known->name, 8, 4, 2);
    wrong.design = &design;
    const std::string message = message_of([&] { emulate(wrong, make_layer(2, {4, 3, 3}).tensors()); });
    EXPECT_NE(message.find("of an element, which has 9"), std::string::npos) << known->name << ": " << message;
  }
}

TEST(Geometry, ComesFromTheNetwork) {
  Network network;
  network.layers.push_back({"image", Input(), {}, {3, 8, 6}});
  Convolution convolution;
  convolution.filters = 4;
  convolution.window.kernel_h = 3;
  convolution.weights.assign(4 * 3 * 3, 1);
  network.layers.push_back({"conv", convolution, {0}, {4, 6, 6}});
  const LayerGeometry geometry = layer_geometry(network, 1);
  EXPECT_EQ(geometry.name, "conv");
  EXPECT_EQ(geometry.input, (Shape{3, 8, 6}));
  EXPECT_EQ(geometry.output, (Shape{4, 6, 6}));
  EXPECT_EQ(geometry.window, convolution.window);
  EXPECT_NE(message_of([&] { layer_geometry(network, 0); }).find("no weights"), std::string::npos);
}

}  // namespace
}  // namespace bitcluster
