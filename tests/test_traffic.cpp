#include <gtest/gtest.h>

#include "host/emulation/emulator.hpp"
#include "tests/expect_slots.hpp"
#include "tests/test_layer.hpp"

namespace bitcluster {
namespace {

TEST(Memory, CountsRereadsAndWaits) {
  // 8 filters, 16 channels, 4x4 pixels: 128 weight bytes, 256 input bytes, 128 output bytes
  TestLayer layer = make_layer(8, {16, 4, 4});
  Accelerator accelerator = array("bit_parallel", 16, 8, 1);
  accelerator.off_chip_gbyte_per_s = 4;
  accelerator.clock_ghz = 0.5;  // 8 byte per cycle
  LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip, 128);
  EXPECT_EQ(result.traffic.activations_off_chip, 256 + 128);
  EXPECT_EQ(result.traffic.weights_on_chip, 128 + 16 * 128);                   // filled once, read for every pixel
  EXPECT_EQ(result.traffic.activations_on_chip, (256 + 128) + 128 + 16 * 16);  // filled, drained, written, read
  EXPECT_EQ(result.compute_cycles, 16);
  EXPECT_EQ(result.memory_cycles, 64);
  EXPECT_EQ(result.cycles, 64);
  EXPECT_EQ(result.slots.memory, 128 * (64 - 16));
  expect_slots_add_up(result, accelerator);

  accelerator.weight_buffer = 64;  // weights need two passes, but the input fits: nothing is read twice
  EXPECT_EQ(emulate(accelerator, layer.tensors()).memory_cycles, 64);
  accelerator.activation_buffer = 100;  // 3 passes: 128 + 2 x 256 with weights kept, 256 + 3 x 128 with input kept
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip + result.traffic.activations_off_chip, 640 + 128);
  accelerator.weight_buffer = 32;  // 128 + 4 x 256 with weights kept: now the input is
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip, 3 * 128);
  EXPECT_EQ(result.traffic.activations_off_chip, 256 + 128);
  accelerator.activation_buffer = 10;  // 26 passes of the weights: now the weights are kept
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.traffic.weights_off_chip, 128);
  EXPECT_EQ(result.traffic.activations_off_chip, 4 * 256 + 128);
}

TEST(Memory, BitClusterMovesItsOwnFormat) {
  TestLayer layer = make_layer(8, {16, 1, 1});
  layer.format.terms = 2;  // 7 bits
  EXPECT_EQ(emulate(array("bitcluster", 16, 8, 1), layer.tensors()).traffic.weights_off_chip, 128 * 7 / 8);
  EXPECT_EQ(emulate(array("pragmatic_weights", 16, 8, 1), layer.tensors()).traffic.weights_off_chip, 128);
}

TEST(EnergyOfALayer, IsTheSumOfActions) {
  TestLayer layer = make_layer(8, {16, 4, 4});
  layer.weights.assign(layer.weights.size(), 5);
  layer.format.terms = 3;
  Accelerator accelerator = array("bitcluster", 32, 8, 1);
  accelerator.term_energy = 0.5;
  accelerator.on_chip_energy = 2;
  accelerator.off_chip_energy = 100;
  accelerator.leakage_energy = 1000;
  const LayerEmulation result = emulate(accelerator, layer.tensors());
  // 128 weights x 16 pixels x 3 cycles, null terms included, idle lanes not
  EXPECT_DOUBLE_EQ(result.energy.compute, 128 * 16 * 3 * 0.5);
  EXPECT_DOUBLE_EQ(result.energy.off_chip, (128 + 256 + 128) * 100);
  EXPECT_DOUBLE_EQ(result.energy.on_chip, (128 + 16 * 128 + 256 + 128 + 128 + 16 * 16) * 2);
  EXPECT_DOUBLE_EQ(result.energy.leakage, 16 * 3 * 1000);
  EXPECT_DOUBLE_EQ(result.energy.total(),
                   result.energy.compute + result.energy.off_chip + result.energy.on_chip + result.energy.leakage);
  EXPECT_DOUBLE_EQ(result.utilisation(), 2.0 / 3 / 2);  // two of three terms, half of the lanes
}

}  // namespace
}  // namespace bitcluster
