// Every design on layers worked out by hand.
#include <optional>
#include <string_view>

#include "tests/by_hand.hpp"

namespace bitcluster {
namespace {

struct Expected {
  std::string_view design;
  std::int64_t cycles;
  std::optional<Slots> slots = {};  //!< without the total
};

/// A table of all designs, in the order of designs().
void expect_table(const TestLayer& layer, Accelerator accelerator, const std::vector<Expected>& table) {
  ASSERT_EQ(table.size(), designs().size());
  for (std::size_t i = 0; i < table.size(); ++i) {
    accelerator.design = designs()[i];
    ASSERT_EQ(table[i].design, accelerator.design->name);
    SCOPED_TRACE(table[i].design);
    const LayerEmulation result = emulate(accelerator, layer.tensors());
    EXPECT_EQ(result.compute_cycles, table[i].cycles);
    if (table[i].slots) expect_slots(result.slots, *table[i].slots);
  }
}

TEST(ByHand, AllZero) {
  // 6 channels on 2 lanes: 3 bricks; 3 pixels on 2 columns: 2 sets; 2 filters on 2 rows: 6 steps
  const TestLayer layer = four_bits(make_layer(2, {6, 1, 3}), 2);
  // 36 products; 4 of 8 processing elements have no pixel in the second set
  expect_table(layer, small_array(2, 2, 2),
               {
                   {"bit_parallel", 6, Slots{.useful = 36, .edge = 12}},
                   {"stripes", 6 * 4, Slots{.edge = 4 * 12, .null_term = 4 * 36}},
                   {"dynamic_stripes", 6, Slots{.edge = 12, .null_term = 36}},  // a zero has one bit
                   {"loom", 6 * 4, Slots{.edge = 4 * 12, .null_term = 4 * 36}},
                   {"pragmatic", 6, Slots{.edge = 12, .null_term = 36}},  // at least one cycle, here and below
                   {"pragmatic_weights", 6, Slots{.edge = 12, .null_term = 36}},
                   {"laconic", 6, Slots{.edge = 12, .null_term = 36}},
                   // of three bricks of zeros in a row the first two are left out: 1 step per set
                   {"tactical_p", 2, Slots{.edge = 4, .null_term = 12}},
                   {"tactical_e", 2, Slots{.edge = 4, .null_term = 12}},
                   {"bitlet", 6, Slots{.edge = 4 * 12, .null_term = 8 * 6 * 3}},  // 8 significances, whatever the lanes
                   {"bitwave", 6, Slots{.edge = 12, .null_term = 36}},
                   {"bitvert", 6, Slots{.edge = 6, .null_term = 18}},  // half as many slots as lanes
                   {"bitcluster", 6 * 2, Slots{.edge = 2 * 12, .null_term = 2 * 36}},
               });
}

TEST(ByHand, OneDenseOutlier) {
  // 4 channels on 4 lanes, 2 filters on 2 rows, 3 pixels on 2 columns: 2 steps, (p0 p1) and (p2); 8 bits
  TestLayer layer = make_layer(2, {4, 1, 3});
  layer.weights = {127, 1, 1, 1, /**/ 1, 2, 4, 0};
  layer.activations = from_pixels({{1, 1, 2, 0}, {1, 255, 2, 0}, {1, 1, 2, 0}});
  layer.format.terms = 7;
  // f0 has 10 terms, f1 has 3; p0 has 3, p1 has 10, p2 has 3
  expect_table(layer, small_array(4, 2, 2),
               {
                   {"bit_parallel", 2},
                   {"stripes", 2 * 8},
                   {"dynamic_stripes", 8 + 2},  // 255, then 2
                   {"loom", (8 + 2) * 8},
                   // p0 and p2: all terms are at 0 and 1: one cycle. p1: 255 has 8, the others go with its first.
                   {"pragmatic", 8 + 1,
                    Slots{.useful = 2 * (3 + 10 + 3), .edge = 8, .lane = 2 * (1 + 22 + 1), .row_column = 2 * 4 * 7}},
                   // f0: 7. f1: positions 0 and 1, then 2.
                   {"pragmatic_weights", 7 + 7,
                    Slots{.useful = 3 * (10 + 3), .edge = 56, .lane = 3 * (18 + 5), .row_column = 3 * 4 * 5}},
                   {"laconic", 8 + 7},  // lane 1: 255 meets a one; then lane 0: 127 meets a one
                   {"tactical_p", 8 + 2},
                   {"tactical_e", 8 + 1},
                   {"bitlet", 4 + 4},     // bit 0 of all weights of f0
                   {"bitwave", 7 + 7},    // bit columns 0..6 of f0
                   {"bitvert", 6 + 6},    // f0: bit column 0 is full, one bit in each of 1..6; f1: 3
                   {"bitcluster", 7 + 7,  // everybody takes as long as 127
                    Slots{.useful = 3 * (10 + 3), .edge = 56, .null_term = 3 * (56 - 13)}},
               });
}

TEST(ByHand, PartialLanes) {
  // 2 channels on 3 lanes, kernel 1x2, one pixel: bricks t0 and t1
  TestLayer layer = four_bits(make_layer(1, {2, 1, 2}, {.kernel_w = 2}), 3);
  layer.weights = {3, 0, /**/ -2, 7};     // 3 -2 . | 0 7 .
  layer.activations = {5, 9, /**/ 0, 2};  // 5 0 . | 9 2 .
  expect_table(
      layer, small_array(3, 1, 1),
      {
          {"bit_parallel", 2, Slots{.useful = 4, .edge = 2}},
          {"stripes", 2 * 4},
          {"dynamic_stripes", 3 + 4},
          {"loom", (3 + 4) * 4},
          {"pragmatic", 2 + 2},          // 5: bits 0, 2; 9 and 2: bits 0 and 1 together, then 3
          {"pragmatic_weights", 2 + 3},  // 3 and 2: bits 0 and 1 together, then 1; 7
          {"laconic", 4 + 3},            // 3 x 5: 2 x 2; 7 x 2: 3 x 1
          // the empty lane of t0 does the 7 on the 2, so t1 is left out: activations 5 0 2
          {"tactical_p", 3},
          {"tactical_e", 2, Slots{.useful = 3, .lane = 3}},          // bit 0 of 5 and bit 1 of 2, then bit 2 of 5
          {"bitlet", 2 + 1, Slots{.useful = 6, .lane = 3 * 8 - 6}},  // 3 and 2 share bit 1
          {"bitwave", 2 + 3},
          // 0011 1110: columns 0, 2, 3 have one bit, column 1 is full, of two lanes; 0000 0111: columns 0, 1, 2
          {"bitvert", 3 + 3, Slots{.useful = 6, .lane = 6}},
          {"bitcluster", 2 * 3},
      });
}

TEST(ByHand, PartialRowsAndColumns) {
  // 6 channels on 4 lanes: bricks A of 4 and B of 2; 3 filters on 2 rows: f0 and f1, f2; 3 pixels on 2 columns: p0 and
  // p1, p2. 8 steps: (p0 p1): f0 f1: A B, f2: A B; (p2): f0 f1: A B, f2: A B
  TestLayer layer = four_bits(make_layer(3, {6, 1, 3}), 3);
  layer.weights = {1, 2, 3, 5, 5, 6, /**/ 0, -1, -2, 7, 3, 3, /**/ 1, 0, 0, 1, -1, -1};
  layer.activations = from_pixels({{1, 2, 4, 8, 3, 0}, {3, 5, 0, 6, 9, 1}, {7, 0, 0, 1, 15, 2}});
  expect_table(
      layer, small_array(4, 2, 2),
      {
          {"bit_parallel", 8, Slots{.useful = 3 * 6 * 3, .edge = 8 * 16 - 54}},
          {"stripes", 8 * 4},
          {"dynamic_stripes", 2 * (4 + 4) + 2 * (3 + 4)},  // the widest: 8 9, then 7 15
          {"loom", (2 * (4 + 4) + 2 * (3 + 4)) * 4},
          // A: p0 1 2 4 8: bits 0 1, then 2 3; p1 3 5 0 6: bits 0 0 1, then 1 2 2; p2: 3 for the 7.
          // B: p0 2 for the 3; p1 9 1: bits 0 0, then 3; p2: 4 for the 15.
          {"pragmatic", 2 * (2 + 2) + 2 * (3 + 4)},
          // A: f0 1 2 3 5: bits 0 1 0 0, then 1 2: 2; f1: 3 for the 7. B: f0 5 6: bits 0 1, then 2 2: 2; f1: 2.
          // f2: 1, 1.
          {"pragmatic_weights", 2 * (3 + 2 + 1 + 1)},
          // A, p0 p1: lane 3: 3 terms of 7 x 2 of 6, f2: lane 0: 1 x 2 of 3. B: lane 0: 2 x 2, 1 x 2.
          // A, p2: lane 0: 1 of f0 or f2 x 3 of 7. B: lane 0: 2 x 4 of 15, 1 x 4.
          {"laconic", 6 + 4 + 2 + 2 + 3 + 8 + 3 + 4},
          // f1: lane 0 of A does lane 0 of B. f2: lanes 1 and 2 of A do lanes 0 and 1 of B, so B is left out.
          // Activations of A are those of f0: 1 2 4 8, 3 5 0 6, 7 0 0 1; f1: 3 2 4 8, 9 5 0 6, 15 0 0 1;
          // f2: 1 3 0 8, 3 9 1 6, 7 15 2 1. Of B: f0: 3 0, 9 1, 15 2; f1: 0, 1, 2.
          {"tactical_p", 4 + 4 + 4 + /**/ 4 + 4 + 4},
          // A: f0 2 2 3; f1 3 2 4; f2 3 3 4. B: f0 2 2 4; f1 1 1 1.
          {"tactical_e", 3 + 2 + 3 + /**/ 4 + 4 + 4,
           // terms of the channels over all pixels: 6 3 1 4 8 2; the 0 that f1 meets in B of p0 is the null term
           Slots{.useful = 24 + 18 + 20,
                 .edge = 0 + 20 + 24 + 32 + 52 + 48,
                 .lane = 14 + 20 + 6 + 0 + 20,
                 .row_column = 16 + 5,
                 .null_term = 1}},
          {"bitlet", 2 * (3 + 2 + 2 + 2)},   // bit 0 of 1 3 5, bit 2 of 5 6, bit 0 of f2 twice
          {"bitwave", 2 * (3 + 3 + 1 + 1)},  // f0 or f1, f0, f2, f2
          // A: f1 0000 1111 1110 0111: a column each for 2 3 3 2 ones: 4, f0: 3. B: f0 0101 0110: column 2 is full: 2.
          // f2: A 1; B has full columns only: 1.
          {"bitvert", 2 * (4 + 2 + 1 + 1)},
          // terms: f0 10, f1 9, f2 4
          {"bitcluster", 8 * 3, Slots{.useful = 3 * 23, .edge = 3 * 74, .null_term = 3 * 54 - 3 * 23}},
      });
}

TEST(ByHand, Depthwise) {
  // 3 channels of their own on the diagonal of 2 lanes and 3 rows: f0 and f1, then f2; kernel 1x2, 2 pixels on 2
  // columns: 4 steps, f0 f1: t0 t1, f2: t0 t1
  TestLayer layer = four_bits(make_layer(3, {3, 1, 3}, {.kernel_w = 2}, 3), 3);
  layer.weights = {3, 1, /**/ 0, 5, /**/ 7, -2};
  // p0 and p1 see 1 6, 9 4, 0 3 at t0 and 6 2, 4 15, 3 8 at t1
  layer.activations = {1, 6, 2, /**/ 9, 4, 15, /**/ 0, 3, 8};
  expect_table(layer, small_array(2, 3, 2),
               {
                   {"bit_parallel", 4, Slots{.useful = 3 * 2 * 2, .edge = 4 * 12 - 12}},
                   {"stripes", 4 * 4},
                   {"dynamic_stripes", 4 + 4 + 2 + 4},
                   {"loom", (4 + 4 + 2 + 4) * 4},
                   // lanes of one column: 1 9: bits 0 0, then 3; 6 4: bits 1 2, then 2: 2. 6 4: 2; 2 15: 4 for the 15.
                   // 0: 1; 3: 2. 3: 2; 8: 1.
                   {"pragmatic", 2 + 4 + 2 + 2},
                   {"pragmatic_weights", 2 + 2 + 3 + 1},
                   // f0: 2 terms x 2 of 6; f1: 2 x 4 of 15; f2: 3 x 2 of 3; 1 x 2 of 3
                   {"laconic", 4 + 8 + 6 + 2,
                    Slots{.useful = 9 + 10 + 9, .edge = 8 * 12 + 10 * 8, .row_column = 8 + 19 + 5 + 1, .null_term = 3}},
                   // A row's other lane does t1 at the time of t0, so t1 is left out. The own lane of f1 has a zero at
                   // t0 and still brings its activation. Activations: f0: 1 6, 6 2; f1: 9 4, 4 15; f2: 0 3, 3 8.
                   {"tactical_p", 4 + 4},
                   // f0: 1 6: bits 0 1, then 2; f1: 4 for the 15: 4. f2: 3 8: bits 0, 1, 3.
                   {"tactical_e", 4 + 3},
                   {"bitlet", 4},               // one weight per processing element
                   {"bitwave", 2 + 2 + 3 + 1},  // its bits
                   {"bitvert", 4},              // its bit columns have one value each
                   {"bitcluster", 4 * 3},
               });
}

TEST(ByHand, Grouped) {
  // 2 groups of 3 channels and 2 filters, on 2 lanes (bricks A of 2 and B of 1), 3 rows and 2 columns: 4 steps
  TestLayer layer = four_bits(make_layer(4, {6, 1, 2}, {}, 2), 2);
  layer.weights = {1, 3, 0, /**/ 2, 2, 5, /* second group */ -1, 6, 0, /**/ 0, 0, 1};
  layer.activations = from_pixels({{1, 2, 0, /* second group */ 15, 1, 3}, {4, 1, 0, /**/ 8, 6, 5}});
  expect_table(layer, small_array(2, 3, 2),
               {
                   {"bit_parallel", 4, Slots{.useful = 4 * 3 * 2, .edge = 4 * 12 - 24}},
                   {"stripes", 4 * 4},
                   {"dynamic_stripes", 3 + 1 + 4 + 3},
                   {"loom", (3 + 1 + 4 + 3) * 4},
                   // 1 2: 1; 4 1: bit 0, then 2: 2. 0. 15: 4; 8 6: bit 1, then 3 2: 2. 3, 5: 2.
                   {"pragmatic", 2 + 1 + 4 + 2},
                   // 1 3: bits 0 0, then 1: 2. 5: 2. -1 6: bits 0 1, then 2: 2. 1.
                   {"pragmatic_weights", 2 + 2 + 2 + 1},
                   {"laconic", 2 + 1 + 4 + 2},  // 3 x 2 or 1; zeros; 1 x 15 or 6 x 6; 1 x 3 or 5
                   // First group: nothing to fill. Second: f3 does its 1 on lane 1 of A, so B is left out; its lane 0
                   // brings 15 and 8.
                   {"tactical_p", 3 + 1 + 4},
                   {"tactical_e", 2 + 1 + 4},
                   {"bitlet", 2 + 1 + 1 + 1},  // 1 3 share bit 0, 2 2 share bit 1; 1 6 share none
                   {"bitwave", 2 + 2 + 3 + 1,  // 1 3; 5; 1 6; 1 or 0
                    Slots{.useful = 2 * 11,
                          .edge = 8 + 16 + 12 + 8,
                          .row_column = 2 * (2 + 1 + 4),
                          .null_term = 2 * (1 + 0 + 1 + 0 + 3 + 2 + 1 + 0)}},
                   {"bitvert", 1 + 1 + 2 + 1},  // 0001 0011: column 1; one lane; 1111 0110: columns 0 and 3; one lane
                   {"bitcluster", 4 * 2},
               });
}

TEST(ByHand, NonSquare) {
  // kernel 1x3, one column of padding on the left, map of 2x2 pixels from 2x3: p0 p1 p2 on 3 columns, across rows, then
  // p3. 2 channels on 2 lanes, 2 filters on 2 rows: 6 steps, t0 t1 t2 of both sets
  TestLayer layer = four_bits(make_layer(2, {2, 2, 3}, {.kernel_w = 3, .pad_left = 1}), 3);
  layer.weights = {1, 0, 3, 2, 0, -4, /**/ 5, 0, 1, 0, 0, 7};  // f0: 1 2 | 0 0 | 3 -4, f1: 5 0 | 0 0 | 1 7
  layer.activations = {1, 2, 7, /**/ 0, 4, 3, /* channel 1 */ 5, 0, 1, /**/ 8, 1, 6};
  // p0: 0 0 | 1 5 | 2 0, p1: 1 5 | 2 0 | 7 1, p2: 0 0 | 0 8 | 4 1, p3: 0 8 | 4 1 | 3 6
  expect_table(layer, small_array(2, 2, 3),
               {
                   {"bit_parallel", 6, Slots{.useful = 2 * 6 * 4, .edge = 6 * 12 - 48}},
                   {"stripes", 6 * 4},
                   {"dynamic_stripes", 3 + 4 + 3 + /**/ 4 + 3 + 3},
                   {"loom", (3 + 4 + 3 + /**/ 4 + 3 + 3) * 4},
                   // 1 5: bits 0 0, then 2; the same; 7: 3. 8: 1; 4 1: bit 0, then 2; 3 6: bits 0 1, then 1 2.
                   {"pragmatic", 2 + 2 + 3 + /**/ 1 + 2 + 2},
                   {"pragmatic_weights", 2 * (2 + 1 + 3)},  // 5; zeros; 7
                   // t0: lane 0: 2 of 5 x 1, lane 1: 1 x 2 of 5; t2: lane 0: 2 of 3 x 3 of 7, lane 1: 3 of 7 x 1.
                   // p3: t0: lane 0: 0, lane 1: 1 x 1; t2: lane 1: 3 of 7 x 2 of 6
                   {"laconic", 2 + 1 + 6 + /**/ 1 + 1 + 6},
                   // f1: lane 1 of t0 does the 7 of t2, two ahead; t1 is left out.
                   // Activations at t0: f0: 0 0, 1 5, 0 0, 0 8; f1: 0 0, 1 1, 0 1, 0 6.
                   // At t2: f0: 2 0, 7 1, 4 1, 3 6; f1: 2, 7, 4, 3.
                   {"tactical_p", 3 + 3 + /**/ 4 + 3},
                   {"tactical_e", 2 + 3 + /**/ 2 + 2},
                   {"bitlet", 2 * (1 + 1 + 2)},   // 1 and 7 share bit 0
                   {"bitwave", 2 * (2 + 1 + 3)},  // 1 2 or 5 0; zeros; 3 4 or 1 7
                   {"bitvert", 2 * (2 + 1 + 4)},  // 0001 0010; zeros; 0011 1100
                   {"bitcluster", 6 * 3},
               });
}

TEST(ByHand, StrideTwo) {
  // kernel 1x2 and strides of 2 on 2 maps of 3x4: 2x2 pixels, which see rows 0 and 2 only. 2 channels on 2 lanes, 2
  // columns: 4 steps, t0 t1 of (p0 p1) and of (p2 p3)
  TestLayer layer = four_bits(make_layer(1, {2, 3, 4}, {.kernel_w = 2, .stride_h = 2, .stride_w = 2}), 2);
  layer.weights = {-3, 0, /**/ 0, 6};  // -3 0 | 0 6
  layer.activations = {1, 2, 3, 0, /**/ 15, 15, 15, 15, /**/ 6, 0, 1, 9,
                       0, 4, 1, 1, /**/ 15, 15, 15, 15, /**/ 2, 7, 0, 5};
  // p0: 1 0 | 2 4, p1: 3 1 | 0 1, p2: 6 2 | 0 7, p3: 1 0 | 9 5
  expect_table(layer, small_array(2, 1, 2),
               {
                   {"bit_parallel", 4, Slots{.useful = 4 * 4}},
                   {"stripes", 4 * 4},
                   {"dynamic_stripes", 2 + 3 + 3 + 4},
                   {"loom", (2 + 3 + 3 + 4) * 4},
                   // 3 1: bits 0 0, then 1; 2 4: bits 1 2 at once; 6 2: bits 1 1, then 2; 7: 3
                   {"pragmatic", 2 + 1 + 2 + 3},
                   {"pragmatic_weights", 2 * (2 + 2)},
                   {"laconic", 4 + 2 + 4 + 6},  // 3 x 3; 6 x 4; 3 x 6; 6 x 7
                   // lane 1 of t0 does the 6, so t1 is left out: 1 4, 3 1, 6 7, 1 5
                   {"tactical_p", 3 + 3},
                   // 1 4: bits 0, 2; 3 1: bits 0 0, 1: 2. 6 7: bits 1 0, 2 1, 2: 3; 1 5: bits 0 0, 2.
                   {"tactical_e", 2 + 3},
                   {"bitlet", 4},
                   {"bitwave", 2 * (2 + 2)},
                   {"bitvert", 2 * (3 + 2)},  // 1101 0000; 0000 0110
                   {"bitcluster", 4 * 2},
               });
}

TEST(ByHand, FullyConnected) {
  // 5 inputs on 2 lanes: bricks A B C; 3 filters on 2 rows: 6 steps, f0 f1: A B C, f2: A B C
  TestLayer layer = four_bits(make_layer(3, {5, 1, 1}, {}, 1, true), 3);
  layer.weights = {1, 3, 0, 2, 7, /**/ 4, 0, -1, -1, 0, /**/ 0, 5, 6, 6, 1};
  layer.activations = {3, 8, 0, 1, 15};
  Accelerator accelerator = small_array(2, 2, 2);
  accelerator.fc_columns = FullyConnectedColumns::single;
  expect_table(
      layer, accelerator,
      {
          {"bit_parallel", 6, Slots{.useful = 15, .edge = 6 * 8 - 15}},
          {"stripes", 6 * 4},
          {"dynamic_stripes", 4 + 1 + 4 + /**/ 4 + 1 + 4},
          {"loom", (4 + 1 + 4 + /**/ 4 + 1 + 4) * 4},
          {"pragmatic", 3 + 1 + 4 + /**/ 3 + 1 + 4},          // 3 8: bits 0, 1, 3
          {"pragmatic_weights", 2 + 1 + 3 + /**/ 2 + 2 + 1},  // 1 3; 2 or 1 1; 7; 5; 6 6; 1
          {"laconic", 2 + 1 + 12 + /**/ 2 + 2 + 4},           // 1 x 3 or 3 x 8; 2 x 1; 7 x 15; 5 x 8; 6 x 1; 1 x 15
          // f0: lane 0 of B does C. f1: lane 1 of A does lane 0 of B. C is left out. Activations: A: f0 3 8, f1 3 0;
          // B: f0 15 1, f1 1.
          // f2: lane 0 of A does lane 1 of B, whose lane 1 does C, which is left out: A 1 8, B 0 15.
          {"tactical_p", 4 + 4 + /**/ 4 + 4},
          {"tactical_e", 3 + 4 + /**/ 2 + 4},       // 1 8: bits 0, 3
          {"bitlet", 2 + 2 + 1 + /**/ 1 + 2 + 1},   // 1 3; 1 1; 7; 5; 6 6; 1
          {"bitwave", 2 + 1 + 3 + /**/ 2 + 2 + 1},  // 1 3; 2 or 1 1; 7; 5; 6 6; 1
          {"bitvert", 1 + 1 + 1 + /**/ 2 + 1 + 1},  // 0000 0101 has two columns
          {"bitcluster", 6 * 3},
      });
  // The same steps dealt to the columns c0 c1 in turn: a step starts when its column is free, and one cycle after the
  // step before it at the earliest. Below, a>b is a step from cycle a to cycle b.
  accelerator.fc_columns = FullyConnectedColumns::rotate;
  expect_table(layer, accelerator,
               {
                   // one starts per cycle, one column is free in each
                   {"bit_parallel", 6, Slots{.useful = 15, .edge = 4 * 6 - 15, .row_column = 4 * 6}},
                   {"stripes", 13},           // c0: 0>4 4>8 8>12, c1: 1>5 5>9 9>13
                   {"dynamic_stripes", 13},   // 0>4, 1>2, 4>8, 5>9, 8>9, 9>13
                   {"loom", 49},              // 0>16, 1>5, 16>32, 17>33, 32>36, 33>49
                   {"pragmatic", 12},         // 0>3, 1>2, 3>7, 4>7, 7>8, 8>12
                   {"pragmatic_weights", 7},  // 0>2, 1>2, 2>5, 3>5, 5>7, 6>7
                   {"laconic", 19},           // 0>2, 1>2, 2>14, 3>5, 14>16, 15>19
                   {"tactical_p", 9},         // 0>4, 1>5, 4>8, 5>9
                   {"tactical_e", 9},         // 0>3, 1>5, 3>5, 5>9
                   {"bitlet", 6},             // 0>2, 1>3, 2>3, 3>4, 4>6, 5>6
                   {"bitwave", 7},            // as pragmatic_weights
                   {"bitvert", 6},            // 0>1, 1>2, 2>3, 3>5, 4>5, 5>6
                   {"bitcluster", 10},        // c0: 0>3 3>6 6>9, c1: 1>4 4>7 7>10
               });
}

TEST(ByHand, SignedActivations) {
  // 4 channels on 2 lanes: bricks A and B; 2 filters, 2 pixels: 2 steps
  TestLayer layer = four_bits(make_layer(2, {4, 1, 2}), 2);
  layer.weights = {3, -3, 0, 0, /**/ -5, 0, 0, 2};
  layer.activations = from_pixels({{-1, 3, 0, 0}, {-8, 0, -4, 1}});
  layer.activation_bits = 5;
  // in two's complement -1 has 2 bits, 3: 3, -8: 4, -4: 3, 1: 2, and 0 its one bit and a sign
  expect_table(layer, small_array(2, 2, 2),
               {
                   {"bit_parallel", 2, Slots{.useful = 16}},
                   {"stripes", 2 * 5},
                   // p0: 2 3 | 2 2, p1: 4 2 | 3 2
                   {"dynamic_stripes", 4 + 3,
                    Slots{.useful = 2 * (3 + 1 + 0 + 2),
                          .lane = 2 * (1 + 2 + 0 + 1),
                          .row_column = 2 * (2 + 2),
                          .null_term = 2 * (2 + 5 + 4 + 3)}},
                   {"loom", (4 + 3) * 4},
                   {"pragmatic", 2 + 2},          // magnitudes: 1 3: bits 0 0, then 1; 8: 1. 0; 4 1: bits 0, 2.
                   {"pragmatic_weights", 2 + 1},  // 3 3 or 5; 2
                   {"laconic", 4 + 1},            // 3 x 3; 2 x 1
                   // f1: lane 1 of A does the 2 of B, which is left out. f0: -1 3, -8 0; f1: -1 0, -8 1
                   {"tactical_p", 4},
                   {"tactical_e", 2},
                   {"bitlet", 2 + 1},
                   {"bitwave", 2 + 1},
                   {"bitvert", 3 + 1},  // f0 0011 1101: columns 1 2 3; f1 1011 0000: 3; 0000 0010
                   {"bitcluster", 2 * 2},
               });
}

TEST(ByHand, SparseFilters) {
  // 24 channels on 4 lanes: 6 bricks; 2 filters, one pixel
  TestLayer layer = four_bits(make_layer(2, {24, 1, 1}), 2);
  layer.weights = {1, 0, 0, 3, /**/ 0, 2, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 5, 0,
                   0, 1, 1, 1, /**/ 0, 0, 0, 0, /**/ 2, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 4, /**/ 0, 0, 0, 0};
  layer.activations = {1,  0, 3, 2, /**/ 15, 6,  15, 15, /**/ 5,  15, 15, 15,
                       15, 1, 0, 2, /**/ 15, 15, 15, 5,  /**/ 15, 15, 7,  15};
  Accelerator accelerator = small_array(4, 2, 1);
  expect_table(layer, accelerator,
               {
                   {"bit_parallel", 6},
                   {"stripes", 6 * 4},
                   {"dynamic_stripes", 2 + 5 * 4},  // 3, then 15 in each
                   {"loom", (2 + 5 * 4) * 4},
                   {"pragmatic", 2 + 5 * 4},
                   {"pragmatic_weights", 2 + 1 + 1 + 1 + 1 + 2},  // 3; 2; 2; zeros; 4; 5
                   {"laconic", 2 + 2 + 2 + 1 + 2 + 6},            // 1 x 3 or 3 x 2; 2 x 6; 2 x 5; zeros; 4 x 5; 5 x 7
                   // Brick 0: f0 has zeros on lanes 1 and 2. Lane 2 sees the 2 of brick 1 in two places, (1,-1) and
                   // (1,3) around the ring, lane 1 in one, (1,0): lane 2 does it. f1: lane 0 does the 2 of brick 2,
                   // (2,0). So bricks 1 and 2 are left out; brick 3 is not, because two in a row are the most. Its lane
                   // 0 does the 5 of brick 5, (2,-2), in f0, and the 4 of brick 4, (1,-1), in f1. Then these two are
                   // left out. Activations: brick 0: f0 1 0 6 2, f1 5 0 3 2; brick 3: f0 7 1 0 2, f1 5 1 0 2.
                   {"tactical_p", 3 + 3},
                   // f0: bits 0 1 1, then 2. f1: bits 0 0 1, then 2 1. f0: 3 for the 7. f1: bits 0 0 1, then 2.
                   {"tactical_e", 2 + 3,
                    // useful: 1 0 1 2 3 terms for f0, 0 2 1 2 2 for f1. Zero weights meet 0 in brick 0, 1 0 2 in
                    // brick 3. In brick 3 f1 takes 2 cycles and waits for the third.
                    Slots{.useful = 7 + 7, .lane = 4 + 3 + 7 + 4, .row_column = 4, .null_term = 0 + 2 + 2}},
                   {"bitlet", 3 + 5},                   // bit 0 of 1 1 1
                   {"bitwave", 2 + 1 + 1 + 1 + 1 + 2},  // 1 3; 2; 2; zeros; 4; 5
                   {"bitvert", 2 + 1 + 1 + 1 + 1 + 2},  // 0001 0011; one bit each; zeros; 0101
                   {"bitcluster", 6 * 2},
               });
  // Shape L looks at (1,-1) (1,0) (2,0). In brick 0 lanes 1 and 2 of f0 see the 2 once each, and the lower one does it.
  // In brick 3 lane 2 of f0 does the 5, (2,0), and lane 0 keeps the activation 15. f1 as before.
  accelerator.search_shape = SearchShape::l;
  accelerator.lookaside = 1;
  accelerator.design = &design_named("tactical_p");  // f0 1 6 3 2, f1 5 0 3 2; f0 15 1 7 2, f1 5 1 0 2
  EXPECT_EQ(emulate(accelerator, layer.tensors()).compute_cycles, 3 + 4);
  accelerator.design = &design_named("tactical_e");  // f0: bits 0 1 0 1, then 2 1; f1: 2; f0: 4 for the 15; f1: 2
  const LayerEmulation result = emulate(accelerator, layer.tensors());
  EXPECT_EQ(result.compute_cycles, 2 + 4);
  // zero weights meet 3; 15 1 2, 1 0 2
  expect_slots(result.slots, {.useful = 7 + 7, .lane = 2 + 3 + 7 + 4, .row_column = 4 * 2, .null_term = 2 + 0 + 6 + 2});
}

}  // namespace
}  // namespace bitcluster
