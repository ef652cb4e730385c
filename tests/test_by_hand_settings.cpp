// Settings of some designs, worked out by hand.
#include <string>
#include <string_view>

#include "tests/by_hand.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

// ------------------------------------------------------------------ settings of some designs

TEST(ByHand, ColumnRegisters) {
  // One lane, one row, two columns, weights of 1: 5 steps of one activation per column
  const std::vector<std::int16_t> activations = {15, 1, /**/ 9, 0, /**/ 1, 1, /**/ 1, 10, /**/ 1, 15};
  struct Row {
    std::string_view design;
    std::vector<std::int64_t> cycles;  // with 0, 1, 2, 3 registers
  };
  const std::vector<Row> table = {
      // c0 4 4 1 1 1, c1 1 1 1 4 4. Ends of the steps, where step n waits for both columns' step n - 1 - D:
      // 0: 4 8 9 13 17
      // 1: c0 4 8 9 10 11, c1 1 2 (4)5 (8)12 16
      // 2: c0 4 8 9 10 11, c1 1 2 3 (4)8 (8)12
      // 3: c0 4 8 9 10 11, c1 1 2 3 7 11
      {"dynamic_stripes", {17, 16, 12, 11}},
      {"tactical_p", {17, 16, 12, 11}},
      // c0 4 2 1 1 1, c1 1 1 1 2 4
      // 0: 4 6 7 9 13
      // 1: c0 4 6 7 8 9, c1 1 2 (4)5 (6)8 12
      // 2: c0 4 6 7 8 9, c1 1 2 3 (4)6 10
      // 3: c0 4 6 7 8 9, c1 1 2 3 5 9
      {"pragmatic", {13, 12, 10, 9}},
      {"tactical_e", {13, 12, 10, 9}},
  };
  // as channels of two pixels, and as pixels of one channel: the columns go on from one pixel set to the next
  for (const Shape input : {Shape{5, 1, 2}, Shape{1, 1, 10}}) {
    TestLayer layer = four_bits(make_layer(1, input), 1);
    layer.weights.assign(layer.weights.size(), 1);
    layer.activations = activations;
    Accelerator accelerator = small_array(1, 1, 2);
    for (const Row& row : table) {
      accelerator.design = &design_named(row.design);
      for (int registers = 0; registers < 4; ++registers) {
        SCOPED_TRACE(std::string(row.design) + ", " + std::to_string(registers) + " registers");
        accelerator.column_registers = registers;
        EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, row.cycles[registers]);
      }
    }
    accelerator.design = &design_named("dynamic_stripes");
    accelerator.column_registers = 2;  // 22 bits, 5 of them zero; c1 waits one cycle, and c0 one at the end
    expect_slots(emulate(accelerator, layer.tensors()).slots, {.useful = 17, .row_column = 2, .null_term = 5});
  }
}

TEST(ByHand, FirstStageShift) {
  // One step of 5 lanes with their terms at 0 | 2 4 | 3 6 | 4 5 | 8 9
  TestLayer layer = make_layer(1, {5, 1, 1});
  layer.weights = layer.activations = {1, 20, 72, 48, 768};
  Accelerator accelerator = small_array(5, 1, 1);
  const std::vector<std::int64_t> cycles = {
      8,  // S = 0, a lane may be 0 above the lowest: 0, 2, 3, 4 4, 5, 6, 8, 9
      6,  // 1, 1 above: 0, 2 3, 4 4, 6 5, 8, 9
      4,  // 2, 3 above: 0 2 3, 4 6 4, 5 8, 9
      3,  // 3, 7 above: 0 2 3 4, 4 6 5 8, 9
      2,  // 4, 15 above: 0 2 3 4 8, 4 6 5 9
  };
  for (const std::string_view design : {"pragmatic", "pragmatic_weights", "tactical_e"}) {
    accelerator.design = &design_named(design);
    for (int shift = 0; shift <= 4; ++shift) {
      SCOPED_TRACE(std::string(design) + ", S = " + std::to_string(shift));
      accelerator.first_stage_shift = shift;
      EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, cycles[shift]);
    }
  }
}

TEST(ByHand, LoomTakesSeveralBitsAtOnce) {
  // the layer of OneDenseOutlier: 8 and 2 bits of activations, 8 of weights
  TestLayer layer = make_layer(2, {4, 1, 3});
  layer.weights = {127, 1, 1, 1, /**/ 1, 2, 4, 0};
  layer.activations = from_pixels({{1, 1, 2, 0}, {1, 255, 2, 0}, {1, 1, 2, 0}});
  Accelerator accelerator = small_array(4, 2, 2);
  accelerator.design = &design_named("loom");
  accelerator.bits_per_cycle = 2;
  const LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.compute_cycles, (4 + 1) * 8);
  // Pairs of bits that are not zero: p0 and p2 1 1 1 0, p1 1 4 1 0, times ones 7 1 1 1 and 1 1 1 0 of the weights.
  // A lane is busy for 8 cycles, with 255 for 32.
  const int useful = (9 + 3) + (12 + 6) + (9 + 3);
  expect_slots(result.slots, {.useful = useful,
                              .edge = 8 * 8,
                              .lane = 2 * 3 * (32 - 8),
                              .row_column = 2 * 4 * (32 - 8),
                              .null_term = 2 * 8 * (4 + 7 + 4) - useful});
  accelerator.bits_per_cycle = 3;
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, (3 + 1) * 8);
  layer.weights[0] = 7;
  accelerator.weight_bits = 4;
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, (3 + 1) * 4);
}

TEST(ByHand, SignedDigits) {
  // One step: weights 7 3, activations p0 15 6, p1 7 5. In signed digits 15 = 16 - 1, 7 = 8 - 1, 6 = 8 - 2, 3 = 4 - 1.
  TestLayer layer = four_bits(make_layer(1, {2, 1, 2}), 3);
  layer.weights = {7, 3};
  layer.activations = from_pixels({{15, 6}, {7, 5}});
  struct Row {
    std::string_view design;
    std::int64_t binary, signed_digit, one_position;  // the last: signed digits, S = 0
  };
  for (const Row& row : std::vector<Row>{
           // p0: 0123 12: bits 0 1, 1 2, 2, 3: 4; 04 13: 0 1, 4 3: 2; one position at a time: 0 1 3 4: 4.
           // p1: 012 02: 3; 03 02: 0 0, 3 2: 2; 0 2 3: 3.
           {"pragmatic", 4, 2, 4},
           {"tactical_e", 4, 2, 4},
           {"pragmatic_weights", 3, 2, 3},   // 012 01: 3; 03 02: 0 0, 3 2: 2; 0 2 3: 3
           {"laconic", 3 * 4, 2 * 2, 2 * 2}  // 7 x 15
       }) {
    SCOPED_TRACE(std::string(row.design));
    Accelerator accelerator = small_array(2, 1, 2);
    accelerator.design = &design_named(row.design);
    EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, row.binary);
    accelerator.encoding = Encoding::signed_digit;
    EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, row.signed_digit);
    accelerator.first_stage_shift = 0;
    EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, row.one_position);
  }
  layer.format.encoding = Encoding::signed_digit;  // 3 terms of 7 in binary would be too many
  layer.format.terms = 2;
  const LayerEmulation result = emulate(array("bitcluster", 2, 1, 2), layer.tensors());
  EXPECT_EQ(result.compute_cycles, 2);
  expect_slots(result.slots, {.useful = 8});
}

TEST(ByHand, EdgesOfColumnsThatRunAhead) {
  // One row of 3 columns, 2 lanes and 2 rows of which one is used each; 4 pixels: p0 p1 p2, then p3 alone. A column
  // has 4 slots, of which 1 holds a value while it has a pixel.
  TestLayer layer = four_bits(make_layer(1, {1, 1, 4}), 1);
  layer.weights = {1};
  layer.activations = {15, 1, 3, 7};  // bits 4 1 2, then 3
  for (const std::string_view design : {"dynamic_stripes", "tactical_p"}) {
    SCOPED_TRACE(design);
    Accelerator accelerator = small_array(2, 2, 3);
    accelerator.design = &design_named(design);
    accelerator.column_registers = 1;
    // c0 works from 0 to 4 and from 4 to 7; c1 until 1 and c2 until 2, then they have no pixel
    const LayerEmulation ahead = emulate(accelerator, layer.tensors());
    EXPECT_EQ(ahead.compute_cycles, 7);
    expect_slots(ahead.slots, {.useful = 4 + 1 + 2 + 3, .edge = 3 * 7 + (3 * 1 + 4 * 6) + (3 * 2 + 4 * 5)});
    // in lockstep they wait until 4
    accelerator.column_registers = 0;
    const LayerEmulation lockstep = emulate(accelerator, layer.tensors());
    EXPECT_EQ(lockstep.compute_cycles, 7);
    expect_slots(lockstep.slots, {.useful = 10, .edge = 3 * 7 + 2 * (3 * 4 + 4 * 3), .row_column = 3 + 2});
  }
}

// ------------------------------------------------------------------ precision and array

TEST(ByHand, StripesTakesThePrecisionAndCountsBitsWithTheirUse) {
  Window window;
  window.kernel_h = window.kernel_w = 2;
  TestLayer layer = make_layer(3, {1, 2, 3}, window);  // 1 x 2 pixels
  layer.activations = {1, 3, 7, 0, -5, 2};             // bits 1 2 3 0 2 1; the middle column is used twice
  layer.activation_bits = 5;
  Accelerator accelerator = array("stripes", 2, 3, 2);
  LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.compute_cycles, 4 * 5);
  EXPECT_EQ(result.slots.useful, 3 * (1 + 2 * 2 + 3 + 0 + 2 * 2 + 1));
  EXPECT_EQ(result.slots.null_term, 3 * 8 * 5 - result.slots.useful);
  EXPECT_EQ(result.slots.edge, result.slots.total / 2);  // one of two lanes
  EXPECT_TRUE(result.zero_bits_known);
  accelerator.precision = 3;
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, 4 * 3);
  layer.activations.clear();
  result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.compute_cycles, 4 * 3);
  EXPECT_EQ(result.slots.useful, 3 * 8 * 3);
  EXPECT_FALSE(result.zero_bits_known);
  layer.activations = {1, 3, 8, 0, -5, 2};
  EXPECT_NE(message_of([&] { emulate(accelerator, layer.tensors()); }).find("more than 3 bits"), std::string::npos);
}

TEST(ByHand, DepthwiseWorksOnTheDiagonalOfOneTile) {
  Window window;
  window.kernel_h = window.kernel_w = 3;
  TestLayer layer = make_layer(10, {10, 5, 5}, window, 10);  // 9 pixels
  // 2 tiles of 4 lanes and 6 rows: 4 channels at a time, 3 batches; 9 pixels on 4 columns: 3 sets
  const Accelerator accelerator = array("bit_parallel", 4, 6, 4, 2);
  const LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.compute_cycles, 3 * 3 * 9);
  EXPECT_EQ(result.slots.useful, 10 * 9 * 9);
}

TEST(ByHand, GroupsRunOneAfterAnother) {
  TestLayer layer = make_layer(6, {6, 2, 2}, {}, 2);
  EXPECT_EQ(emulate(array("bit_parallel", 2, 2, 4), layer.tensors()).compute_cycles, 2 * 1 * 2 * 2);
}

TEST(ByHand, FullyConnectedColumnsTakeTurns) {
  // 12 inputs on 2 lanes: 6 bricks; 2 filters; N = 3
  TestLayer layer = make_layer(2, {12, 1, 1}, {}, 1, true);
  layer.format.terms = 3;
  Accelerator accelerator = array("bitcluster", 2, 2, 4);
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, 6 + 3 - 1);  // one starts per cycle
  layer.format.terms = 7;  // 4 columns are too few: they start at 0 1 2 3, then at 7 8
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, 15);
  accelerator.fc_columns = FullyConnectedColumns::single;
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, 6 * 7);
  accelerator.fc_columns = FullyConnectedColumns::rotate;
  accelerator.columns = 8;  // two columns never get a brick
  const LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.compute_cycles, 6 + 7 - 1);
  EXPECT_EQ(result.slots.edge, 2 * 4 * 12);
  EXPECT_EQ(result.slots.row_column, 4 * (6 * 12 - 6 * 7));
}

TEST(ByHand, FullyConnectedMapsAreVectors) {
  // 3 channels of 2x2 are 12 inputs: 3 bricks of 4 lanes, not 4 taps of one brick
  Window window;
  window.kernel_h = window.kernel_w = 2;
  TestLayer layer = make_layer(1, {3, 2, 2}, window, 1, true);
  EXPECT_EQ(emulate(array("bit_parallel", 4, 1, 1), layer.tensors()).compute_cycles, 3);
}

}  // namespace
}  // namespace bitcluster
