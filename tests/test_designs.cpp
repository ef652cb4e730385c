#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>
#include <string_view>

#include "host/emulation/design.hpp"
#include "host/emulation/emulator.hpp"
#include "host/emulation/mapping.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

Accelerator pragmatic(int shift, Encoding encoding = Encoding::binary) {
  Accelerator accelerator;
  accelerator.design = &design_named("pragmatic_weights");
  accelerator.first_stage_shift = shift;
  accelerator.encoding = encoding;
  return accelerator;
}

BrickCost brick(const Accelerator& accelerator, const std::vector<int>& magnitudes) {
  const WeightRule rule = std::get<WeightRule>(accelerator.design->rule(accelerator, LayerTensors()));
  std::vector<std::uint16_t> operands((magnitudes.size() + operand_padding - 1) / operand_padding * operand_padding, 0);
  for (std::size_t l = 0; l < magnitudes.size(); ++l) operands[l] = operand(rule.operands, std::int16_t(magnitudes[l]));
  BrickCost cost;
  rule.bricks({operands.data(), std::ptrdiff_t(operands.size()), 1, int(magnitudes.size())}, &cost);
  return cost;
}

TEST(Designs, HaveNamesOfTheirOwnAndKeysThatThereAre) {
  std::set<std::string_view> names, keys;
  for (const AcceleratorField& field : accelerator_fields()) keys.insert(field.key);
  for (const DesignInfo* design : designs()) {
    EXPECT_TRUE(names.insert(design->name).second) << design->name;
    EXPECT_EQ(&design_named(design->name), design);
    for (const std::string_view key : design->keys) EXPECT_TRUE(key.empty() || keys.contains(key)) << key;
    for (const DesignInfo::Limit& limit : design->limits) {
      EXPECT_TRUE(limit.key.empty() || keys.contains(limit.key)) << limit.key;
    }
  }
}

/// One step of 16 x 16 products in which nothing can be skipped takes what the comparison of arrays assumes.
TEST(Designs, SayHowLongDenseStepsTake) {
  for (const DesignInfo* design : designs()) {
    ASSERT_TRUE(design->dense_cycles) << design->name;
    Accelerator accelerator;
    accelerator.design = design;
    accelerator.weight_buffer = accelerator.activation_buffer = 1 << 20;
    accelerator.off_chip_gbyte_per_s = 1e9;
    std::vector<std::int16_t> weights(16 * 16, 255), activations(16, 255);
    LayerTensors layer;
    layer.geometry = {"dense", true, 16, 1, {}, {16, 1, 1}, {16, 1, 1}};
    layer.weight_format.bits = 9;  // with the sign
    layer.weight_format.terms = 8;
    if (design->name == "bitvert") {  // which inverts columns of more ones than zeros
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = i % 2 ? -1 : 0;
      layer.weight_format.bits = 8;
    }
    if (design->name == "loom") {  // whose widths are with the sign
      weights.assign(weights.size(), 127);
      layer.weight_format.bits = 8;
    }
    layer.weights = weights;
    layer.activations = activations;
    EXPECT_EQ(emulate(accelerator, layer).compute_cycles, design->dense_cycles(accelerator)) << design->name;
    EXPECT_EQ(accelerator.dense_products_per_cycle() * design->dense_cycles(accelerator), 256) << design->name;
  }
}

TEST(Terms, AreTheMagnitudeAndInNonAdjacentForm) {
  for (std::uint32_t magnitude = 0; magnitude <= 32768; ++magnitude) {
    EXPECT_EQ(terms_of(Encoding::binary, magnitude).plus, magnitude);
    EXPECT_EQ(terms_of(Encoding::binary, magnitude).minus, 0u);
    const Terms terms = terms_of(Encoding::signed_digit, magnitude);
    ASSERT_EQ(terms.plus - terms.minus, magnitude);
    ASSERT_EQ(terms.positions() & (terms.positions() << 1), 0u) << magnitude;  // no two neighbours: the unique NAF
    ASSERT_EQ(terms.plus & terms.minus, 0u);
  }
  for (std::uint32_t magnitude = 0; magnitude <= 28671; ++magnitude) {  // beyond, DNNsim's recoding has no meaning
    const Terms terms = terms_of(Encoding::booth_dnnsim, magnitude);
    ASSERT_EQ(terms.plus - terms.minus, magnitude);
    ASSERT_EQ(terms.plus & terms.minus, 0u);
  }
  EXPECT_EQ(terms_of(Encoding::signed_digit, 7).plus, 8u);  // 7 = 8 - 1
  EXPECT_EQ(terms_of(Encoding::signed_digit, 7).minus, 1u);
}

TEST(PragmaticWeights, ByHand) {
  // 0b0001, 0b1000: S = 0 takes positions 0 and 3 one after the other; S = 1 reaches one position; S = 2 reaches three
  EXPECT_EQ(brick(pragmatic(0), {1, 8}).cycles, 2);
  EXPECT_EQ(brick(pragmatic(1), {1, 8}).cycles, 2);
  EXPECT_EQ(brick(pragmatic(2), {1, 8}).cycles, 1);
  // 0b0101, 0b0110 with S = 0: positions 0, 1, 2. With S = 1: {0 of a, 1 of b}, {2 of a, 2 of b}
  EXPECT_EQ(brick(pragmatic(0), {5, 6}).cycles, 3);
  EXPECT_EQ(brick(pragmatic(1), {5, 6}).cycles, 2);
  EXPECT_EQ(brick(pragmatic(1), {5, 6}).useful, 4);
  // one dense outlier among ones: it has 7 terms, the others wait
  EXPECT_EQ(brick(pragmatic(4), {127, 1, 1, 1}).cycles, 7);
  EXPECT_EQ(brick(pragmatic(4), {127, 1, 1, 1}).useful, 10);
  // the same outlier as signed digits is 128 - 1
  EXPECT_EQ(brick(pragmatic(4, Encoding::signed_digit), {127, 1, 1, 1}).cycles, 2);
  // nothing to do still takes one cycle, and all its slots are null terms
  EXPECT_EQ(brick(pragmatic(2), {0, 0, 0}).cycles, 1);
  EXPECT_EQ(brick(pragmatic(2), {0, 0, 0}).null_term, 3);
  EXPECT_EQ(brick(pragmatic(2), {0, 0, 0}).useful, 0);
}

TEST(PragmaticWeights, ExtremeShiftsAreDistinctPositionsAndMostTerms) {
  std::mt19937 random(3);
  for (int repeat = 0; repeat < 300; ++repeat) {
    std::vector<int> magnitudes(1 + random() % 40);
    unsigned any = 0;
    int most = 0;
    for (int& m : magnitudes) {
      m = int(random() % 32768);
      any |= unsigned(m);
      most = std::max(most, std::popcount(unsigned(m)));
    }
    EXPECT_EQ(brick(pragmatic(0), magnitudes).cycles, std::max(1, std::popcount(any)));
    EXPECT_EQ(brick(pragmatic(4), magnitudes).cycles, std::max(1, most));
    EXPECT_GE(brick(pragmatic(1), magnitudes).cycles, brick(pragmatic(2), magnitudes).cycles);
  }
}

TEST(Laconic, StepByHand) {
  Accelerator accelerator;
  accelerator.design = &design_named("laconic");
  const PairRule rule = std::get<PairRule>(accelerator.design->rule(accelerator, LayerTensors()));
  EXPECT_EQ(rule.operands[7], 3);
  // 2 lanes, 2 rows, 3 columns; numbers of terms
  const std::vector<std::uint16_t> weights = {2, 0, /**/ 1, 3};
  std::vector<std::uint16_t> activations(2 * operand_padding, 0);
  const int counts[2][3] = {{4, 0, 1}, {1, 0, 2}};
  for (int l = 0; l < 2; ++l) {
    for (int c = 0; c < 3; ++c) activations[l * operand_padding + c] = std::uint16_t(counts[l][c]);
  }
  StepView view;
  view.lanes = view.rows = 2;
  view.columns = 3;
  view.weights = weights.data();
  view.row_stride = 2;
  view.activations = activations.data();
  view.lane_stride = operand_padding;
  const StepCost cost = rule.step(view);
  // row 0: lanes (8, 0) (0, 0) (2, 0); row 1: (4, 3) (0, 0) (1, 6)
  EXPECT_EQ(cost.cycles, 8);
  EXPECT_EQ(cost.element_cycles, 8 + 1 + 2 + 4 + 1 + 6);
  EXPECT_EQ(cost.useful, 8 + 2 + 7 + 7);
  EXPECT_EQ(cost.null_term, 2 * 2);  // two idle elements, two lanes, one cycle
}

TEST(WeightFormats, BitsByHand) {
  Accelerator accelerator;
  LayerTensors layer;
  layer.weight_format.bits = 8;
  layer.weight_format.terms = 2;
  EXPECT_EQ(encoded_weight_bits(accelerator, layer), 8);
  accelerator.design = &design_named("bitcluster");
  EXPECT_EQ(encoded_weight_bits(accelerator, layer), 7);  // sign + 2 x 3 bits for 7 positions and "null"
  layer.weight_format.terms = 3;
  EXPECT_EQ(encoded_weight_bits(accelerator, layer), 8);  // plain is shorter than 10
  layer.weight_format.terms = 1;
  EXPECT_EQ(encoded_weight_bits(accelerator, layer), 4);
  layer.weight_format.encoding = Encoding::signed_digit;
  EXPECT_EQ(encoded_weight_bits(accelerator, layer), 5);  // 8 positions x 2 signs and "null": 17 codes
}

/// One filter of `weights` on a vector.
LayerTensors vector_layer(const std::vector<std::int16_t>& weights, int bits) {
  LayerTensors layer;
  layer.geometry.name = "fc";
  layer.geometry.fully_connected = true;
  layer.geometry.filters = 1;
  layer.geometry.input = {int(weights.size()), 1, 1};
  layer.geometry.output = {1, 1, 1};
  layer.weights = weights;
  layer.weight_format.bits = bits;
  return layer;
}

TEST(Values, ThatDoNotSuitTheDesignAreErrors) {
  const auto message = [](std::string_view design, const std::vector<std::int16_t>& weights, int bits) {
    Accelerator accelerator;
    accelerator.design = &design_named(design);
    LayerTensors layer = vector_layer(weights, bits);
    layer.weight_format.terms = 7;
    return message_of([&] { accelerator.design->rule(accelerator, layer); });
  };
  for (const std::string design : {"bitwave", "bitvert", "bitcluster"}) {
    EXPECT_EQ(message(design, {127, -127}, 8), "") << design;
    EXPECT_NE(message(design, {128}, 8).find("weight 128 is outside"), std::string::npos) << design;
  }
  EXPECT_EQ(message("bitvert", {-128}, 8), "");  // two's complement
  EXPECT_NE(message("bitwave", {-128}, 8).find("weight -128"), std::string::npos);
  // -2^15 takes 16 bits in two's complement, and 17 as sign and magnitude, of which BitWave has 16
  EXPECT_EQ(message("bitvert", {-32768, 32767}, 17), "");
  EXPECT_NE(message("bitwave", {-32768}, 17).find("weight -32768"), std::string::npos);

  Accelerator loom;
  loom.design = &design_named("loom");
  loom.weight_bits = 4;
  const std::vector<std::int16_t> weights = {8}, activations = {-1};
  EXPECT_NE(message_of([&] { loom.design->rule(loom, vector_layer(weights, 8)); }).find("outside -8..7"),
            std::string::npos);
  for (const std::string design : {"loom", "dynamic_stripes", "tactical_p"}) {
    Accelerator accelerator;
    accelerator.design = &design_named(design);
    LayerTensors layer = vector_layer(weights, 8);
    layer.activations = activations;
    EXPECT_NE(message_of([&] { accelerator.design->rule(accelerator, layer); }).find("unsigned"), std::string::npos);
    layer.activations_signed = true;
    EXPECT_EQ(message_of([&] { accelerator.design->rule(accelerator, layer); }), "");
  }
}

TEST(Faults, OfAcceleratorsMadeInCode) {
  Accelerator sound;
  sound.weight_buffer = sound.activation_buffer = 1024;
  sound.off_chip_gbyte_per_s = 1;
  EXPECT_FALSE(fault_of(sound));
  const auto key = [&](auto&& change) {
    Accelerator accelerator = sound;
    change(accelerator);
    const auto fault = fault_of(accelerator);
    return fault ? fault->key : "";
  };
  EXPECT_EQ(key([](Accelerator& a) { a.rows = 0; }), "rows");
  EXPECT_EQ(key([](Accelerator& a) { a.tiles = 4097; }), "tiles");
  EXPECT_EQ(key([](Accelerator& a) { a.lanes = 65; }), "");
  EXPECT_EQ(key([](Accelerator& a) { a.lanes = 65, a.design = &design_named("tactical_e"); }), "lanes");
  EXPECT_EQ(key([](Accelerator& a) { a.lookahead = 1, a.design = &design_named("tactical_p"); }), "search_shape");
  EXPECT_EQ(key([](Accelerator& a) { a.column_registers = 1, a.design = &design_named("laconic"); }),
            "column_registers");
  EXPECT_EQ(key([](Accelerator& a) { a.column_registers = 1, a.design = &design_named("pragmatic"); }), "");
  EXPECT_EQ(key([](Accelerator& a) { a.first_stage_shift = 5; }), "first_stage_shift");
  EXPECT_EQ(key([](Accelerator& a) { a.peer = Peer::bitsim, a.design = &design_named("pragmatic"); }), "peer");
  EXPECT_EQ(key([](Accelerator& a) { a.peer = Peer::bitsim, a.design = &design_named("bitlet"), a.significances = 7; }),
            "significances");
  EXPECT_EQ(key([](Accelerator& a) { a.weight_buffer = 0; }), "memory");
  EXPECT_EQ(key([](Accelerator& a) { a.off_chip_gbyte_per_s = 0; }), "memory");
}

TEST(Layers, WithImpossibleShapesAreErrors) {
  Accelerator accelerator;
  accelerator.weight_buffer = accelerator.activation_buffer = 1024;
  accelerator.off_chip_gbyte_per_s = 1;
  const std::vector<std::int16_t> weights(4, 1);
  const auto message = [&](auto&& change) {
    LayerTensors layer = vector_layer(weights, 8);
    change(layer);
    return message_of([&] { check_layer(accelerator, layer); });
  };
  EXPECT_EQ(message([](LayerTensors&) {}), "");
  EXPECT_NE(message([](LayerTensors& l) { l.geometry.input.height = 0; }).find("no pixels"), std::string::npos);
  EXPECT_NE(message([](LayerTensors& l) { l.weight_format.bits = 18; }).find("18 bits"), std::string::npos);
  EXPECT_NE(message([](LayerTensors& l) { l.activation_bits = 0; }).find("0 and 8 bits"), std::string::npos);
  // one pixel still, but the kernel hangs over the edge
  EXPECT_NE(message([](LayerTensors& l) {
              l.geometry.window.pad_top = 1;
              l.geometry.window.stride_h = 2;
            }).find("does not cover"),
            std::string::npos);
  // 2^31 and more in the arithmetic of shapes
  EXPECT_NE(message([](LayerTensors& l) {
              l.geometry.fully_connected = false;
              l.geometry.window.kernel_h = l.geometry.window.dilation_h = 1 << 17;
            }).find("output shape"),
            std::string::npos);
  accelerator.columns = 0;
  EXPECT_NE(message([](LayerTensors&) {}).find("columns"), std::string::npos);

  accelerator.lanes = accelerator.rows = accelerator.columns = accelerator.tiles = 4096;  // 2^48 slots
  const auto emulated = [&] { return message_of([&] { emulate(accelerator, vector_layer(weights, 8)); }); };
  EXPECT_EQ(emulated(), "");
  accelerator.off_chip_gbyte_per_s = 1e-4;  // 5 bytes at 10^-4 byte per cycle
  EXPECT_NE(emulated().find("64 bits"), std::string::npos);
}

}  // namespace
}  // namespace bitcluster
