// Emulation with the walks on a GPU against that on the CPU: every number the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "cuda/emulation.hpp"
#include "host/emulation/emulator.hpp"
#include "tests/gpu_fixture.hpp"
#include "tests/random_layer.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

/// Counts the layers that the walker behind it takes: one that leaves all to the CPU would be right, too.
class Counted : public Walker {
 public:
  std::optional<LayerWork> walk(const Accelerator& accelerator, const Mapping& mapping, const LayerTensors& layer,
                                const DesignRule& rule) override {
    std::optional<LayerWork> result = walker_->walk(accelerator, mapping, layer, rule);
    if (!std::holds_alternative<TacticalRule>(rule)) ++(result ? taken : left);
    return result;
  }
  std::optional<ScheduledWork> walk_schedule(const Accelerator& accelerator, const Mapping& mapping,
                                             const LayerTensors& layer, const ActivationRule& behind,
                                             const ScheduledSteps& steps) override {
    std::optional<ScheduledWork> result = walker_->walk_schedule(accelerator, mapping, layer, behind, steps);
    ++(result ? taken : left);
    return result;
  }
  int taken = 0, left = 0;

 private:
  std::unique_ptr<Walker> walker_ = make_cuda_walker(0, 200);  // the steps of most layers in parts
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
  Design design;
  bool on_gpu = true;
  Peer peer = Peer::none;
  int registers = 0;
};

class GpuEmulation : public Gpu, public testing::WithParamInterface<Case> {
 protected:
  void SetUp() override {
    Gpu::SetUp();
    if (!IsSkipped()) walker_ = std::make_unique<Counted>();
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
    expect_same(emulate(accelerator, layer.tensors(), walker_.get()), emulate(accelerator, layer.tensors()));
    EXPECT_EQ(GetParam().on_gpu ? walker_->left : walker_->taken, 0);
    EXPECT_GE(GetParam().on_gpu ? walker_->taken : walker_->left, ++layers_);  // Bit-Tactical: group by group
  }

  std::mt19937 random_{unsigned(GetParam().design) + 100 * unsigned(GetParam().peer) + GetParam().registers};
  std::unique_ptr<Counted> walker_;
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
    accelerator.lanes = fully_connected ? std::min(4096, of_lanes(accelerator.design).high) : 37;
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

INSTANTIATE_TEST_SUITE_P(
    Designs, GpuEmulation,
    testing::Values(
        Case{"BitParallel", Design::bit_parallel, false}, Case{"Stripes", Design::stripes, false},
        Case{"DynamicStripes", Design::dynamic_stripes},
        Case{"DynamicStripesAhead", Design::dynamic_stripes, true, Peer::none, 1}, Case{"Loom", Design::loom},
        Case{"Pragmatic", Design::pragmatic}, Case{"PragmaticAhead", Design::pragmatic, true, Peer::none, 2},
        Case{"PragmaticWeights", Design::pragmatic_weights}, Case{"Laconic", Design::laconic},
        Case{"TacticalP", Design::tactical_p}, Case{"TacticalPAhead", Design::tactical_p, true, Peer::none, 3},
        Case{"TacticalE", Design::tactical_e}, Case{"TacticalEAhead", Design::tactical_e, true, Peer::none, 1},
        Case{"Bitlet", Design::bitlet}, Case{"Bitwave", Design::bitwave}, Case{"Bitvert", Design::bitvert},
        Case{"Bitcluster", Design::bitcluster, false}, Case{"DnnsimStripes", Design::stripes, false, Peer::dnnsim},
        Case{"DnnsimDynamicStripes", Design::dynamic_stripes, true, Peer::dnnsim},
        Case{"DnnsimLoom", Design::loom, true, Peer::dnnsim},
        Case{"DnnsimPragmatic", Design::pragmatic, true, Peer::dnnsim},
        Case{"DnnsimPragmaticAhead", Design::pragmatic, true, Peer::dnnsim, 1},
        Case{"DnnsimLaconic", Design::laconic, true, Peer::dnnsim},
        Case{"DnnsimTacticalE", Design::tactical_e, true, Peer::dnnsim, 1},
        Case{"BitsimStripes", Design::stripes, false, Peer::bitsim},
        Case{"BitsimPragmaticWeights", Design::pragmatic_weights, true, Peer::bitsim},
        Case{"BitsimBitlet", Design::bitlet, true, Peer::bitsim},
        Case{"BitsimBitwave", Design::bitwave, true, Peer::bitsim},
        Case{"BitsimBitvert", Design::bitvert, true, Peer::bitsim}),
    [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

}  // namespace
}  // namespace bitcluster
