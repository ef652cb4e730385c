// Emulation with the steps counted on a GPU against that on the CPU: every number the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "cuda/emulation.hpp"
#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/gpu_fixture.hpp"
#include "tests/random_layer.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

/// Counts the layers that the counter behind it takes: one that leaves all to the CPU would be right, too.
class Counted : public StepCounter {
 public:
  std::optional<LayerWork> count(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                                 const DesignRule& rule) override {
    std::optional<LayerWork> result = counter_->count(accelerator, mapping, layer, rule);
    if (!std::holds_alternative<TacticalRule>(rule)) ++(result ? taken : left);
    return result;
  }
  std::optional<ScheduledWork> count_schedule(const Accelerator& accelerator, const Mapping& mapping,
                                              const LayerTensors& layer, const ActivationRule& behind,
                                              const ScheduledSteps& steps) override {
    std::optional<ScheduledWork> result = counter_->count_schedule(accelerator, mapping, layer, behind, steps);
    ++(result ? taken : left);
    return result;
  }
  int taken = 0, left = 0;

 private:
  std::unique_ptr<StepCounter> counter_ = make_cuda_step_counter(0, 200);  // the steps of most layers in parts
};

void expect_same(const LayerEmulation& gpu, const LayerEmulation& cpu) {
  EXPECT_EQ(gpu.cycles, cpu.cycles);
  EXPECT_EQ(gpu.compute_cycles, cpu.compute_cycles);
  EXPECT_EQ(gpu.memory_cycles, cpu.memory_cycles);
  EXPECT_EQ(gpu.slots.total, cpu.slots.total);
  EXPECT_EQ(gpu.slots.useful, cpu.slots.useful);
  EXPECT_EQ(gpu.slots.edge, cpu.slots.edge);
  EXPECT_EQ(gpu.slots.lane, cpu.slots.lane);
  EXPECT_EQ(gpu.slots.row_column, cpu.slots.row_column);
  EXPECT_EQ(gpu.slots.null_term, cpu.slots.null_term);
  EXPECT_EQ(gpu.slots.memory, cpu.slots.memory);
  EXPECT_EQ(gpu.zero_bits_known, cpu.zero_bits_known);
  EXPECT_EQ(gpu.traffic.weights_off_chip, cpu.traffic.weights_off_chip);
  EXPECT_EQ(gpu.traffic.activations_off_chip, cpu.traffic.activations_off_chip);
  EXPECT_EQ(gpu.traffic.weights_on_chip, cpu.traffic.weights_on_chip);
  EXPECT_EQ(gpu.traffic.activations_on_chip, cpu.traffic.activations_on_chip);
  EXPECT_EQ(gpu.energy.compute, cpu.energy.compute);
  EXPECT_EQ(gpu.energy.on_chip, cpu.energy.on_chip);
  EXPECT_EQ(gpu.energy.off_chip, cpu.energy.off_chip);
  EXPECT_EQ(gpu.energy.leakage, cpu.energy.leakage);
}

struct Case {
  std::string name;
  std::string_view design;
  Peer peer = Peer::none;
  int registers = 0;
};

class GpuEmulation : public Gpu, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    Gpu::SetUp();
    if (!IsSkipped()) counter_ = std::make_unique<Counted>();
  }

  Accelerator random_accelerator() {
    Accelerator accelerator = random_array(random_, GetParam().design);
    accelerator.peer = GetParam().peer;
    accelerator.column_registers = GetParam().registers;
    if (random_() % 3 == 0) accelerator.encoding = Encoding::booth_dnnsim;
    accelerator.off_chip_gbyte_per_s = 16;
    accelerator.term_energy = 0.3;
    accelerator.on_chip_energy = 1.1;
    accelerator.off_chip_energy = 70;
    accelerator.leakage_energy = 2.3;
    return accelerator;
  }

  void expect_same_as_cpu(const Accelerator& accelerator, const TestLayer& layer) {
    expect_same(emulate(accelerator, layer.tensors(), counter_.get()), emulate(accelerator, layer.tensors()));
    // what takes the same time whatever the values is left to the CPU
    const bool on_gpu = !std::holds_alternative<FixedRule>(accelerator.design->rule(accelerator, layer.tensors()));
    EXPECT_EQ(on_gpu ? counter_->left : counter_->taken, 0);
    EXPECT_GE(on_gpu ? counter_->taken : counter_->left, ++layers_);  // Bit-Tactical: group by group
  }

  static unsigned index_of(std::string_view design) {
    return unsigned(std::find(designs().begin(), designs().end(), &design_named(design)) - designs().begin());
  }

  std::mt19937 random_{index_of(GetParam().design) + 100 * unsigned(GetParam().peer) + GetParam().registers};
  std::unique_ptr<Counted> counter_;
  int layers_ = 0;
};

TEST_P(GpuEmulation, EqualsTheCpuOnRandomLayers) {
  for (int repeat = 0; repeat < 16 && !HasFailure(); ++repeat) {
    SCOPED_TRACE(repeat);
    const TestLayer layer = random_layer(random_);
    expect_same_as_cpu(random_accelerator(), layer);
  }
}

// More lanes, rows, columns and pixels than a warp or a thread takes at once, by a few
TEST_P(GpuEmulation, EqualsTheCpuOnLargeArrays) {
  Window window;
  window.kernel_h = 2;
  window.stride_w = 2;
  window.pad_top = 1;
  for (const bool fully_connected : {false, true}) {
    SCOPED_TRACE(fully_connected);
    const Shape input = fully_connected ? Shape{5003, 1, 1} : Shape{39, 41, 57};
    TestLayer layer = make_layer(43, input, fully_connected ? Window() : window, 1, fully_connected);
    const std::size_t filter_size = layer.weights.size() / 43;
    for (std::size_t i = 0; i < layer.weights.size(); ++i) {
      const bool second_tile = i / filter_size >= 21 && i / filter_size < 42;  // Bit-Tactical is done with it early
      layer.weights[i] = std::int16_t(second_tile && i % 499 ? 0 : int(random_() % 255) - 127);
    }
    for (auto& value : layer.activations) value = std::int16_t(random_() % 2 ? random_() % 256 : 0);
    Accelerator accelerator = random_accelerator();
    accelerator.lanes = fully_connected ? int(accelerator_fields()[0].high(*accelerator.design)) : 37;
    accelerator.rows = 21;
    accelerator.tiles = 2;
    accelerator.columns = 133;
    expect_same_as_cpu(accelerator, layer);
  }
}

TEST_P(GpuEmulation, EqualsTheCpuOnZeros) {
  Window window;
  window.kernel_h = 3;
  window.kernel_w = 2;
  window.stride_w = 2;
  for (const int groups : {1, 6}) expect_same_as_cpu(random_accelerator(), make_layer(6, {6, 6, 5}, window, groups));
}

TEST_P(GpuEmulation, EqualsTheCpuOnValuesOf16Bits) {
  for (int repeat = 0; repeat < 4 && !HasFailure(); ++repeat) {
    SCOPED_TRACE(repeat);
    TestLayer layer = random_layer(random_);
    // beyond 28671 DNNsim's recoding has no meaning; BitSim takes weights of 8 bits
    constexpr int most = 28671;
    const bool wide_weights = GetParam().peer != Peer::bitsim;
    for (auto& value : layer.activations) value = std::int16_t(int(random_() % (2 * most + 1)) - most);
    for (auto& weight : layer.weights) {
      if (wide_weights) weight = std::int16_t(int(random_() % (2 * most + 1)) - most);
    }
    layer.format.terms = layer.activation_bits = 16;
    Accelerator accelerator = random_accelerator();
    if (wide_weights) layer.format.bits = accelerator.significances = 16;
    expect_same_as_cpu(accelerator, layer);
  }
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const DesignInfo* design : designs()) list.push_back({camel_case(design->name), design->name});
  for (const Case& more : {Case{"DynamicStripesAhead", "dynamic_stripes", Peer::none, 1},
                           {"PragmaticAhead", "pragmatic", Peer::none, 2},
                           {"TacticalPAhead", "tactical_p", Peer::none, 3},
                           {"TacticalEAhead", "tactical_e", Peer::none, 1},
                           {"DnnsimStripes", "stripes", Peer::dnnsim},
                           {"DnnsimDynamicStripes", "dynamic_stripes", Peer::dnnsim},
                           {"DnnsimLoom", "loom", Peer::dnnsim},
                           {"DnnsimPragmatic", "pragmatic", Peer::dnnsim},
                           {"DnnsimPragmaticAhead", "pragmatic", Peer::dnnsim, 1},
                           {"DnnsimLaconic", "laconic", Peer::dnnsim},
                           {"DnnsimTacticalE", "tactical_e", Peer::dnnsim, 1},
                           {"BitsimStripes", "stripes", Peer::bitsim},
                           {"BitsimPragmaticWeights", "pragmatic_weights", Peer::bitsim},
                           {"BitsimBitlet", "bitlet", Peer::bitsim},
                           {"BitsimBitwave", "bitwave", Peer::bitsim},
                           {"BitsimBitvert", "bitvert", Peer::bitsim}}) {
    list.push_back(more);
  }
  return list;
}

INSTANTIATE_TEST_SUITE_P(Designs, GpuEmulation, testing::ValuesIn(cases()),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

}  // namespace
}  // namespace bitcluster
