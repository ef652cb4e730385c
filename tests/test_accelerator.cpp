#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include "harness/journal/content_keys.hpp"
#include "host/data/accelerator_file.hpp"
#include "host/emulation/accelerator.hpp"
#include "host/emulation/design.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

const std::string folder = std::string(BITCLUSTER_SOURCE_DIR) + "/configs/accelerators/";

/// The shipped file with the first `from` replaced by `to`, loaded.
Accelerator load_changed(const std::string& file, const std::string& from, const std::string& to) {
  std::stringstream text;
  text << std::ifstream(folder + file).rdbuf();
  std::string content = text.str();
  const std::size_t place = content.find(from);
  EXPECT_NE(place, std::string::npos) << from;
  content.replace(place, from.size(), to);
  content.insert(content.find("technology/"), folder);  // the changed file lies elsewhere
  const std::string path = testing::TempDir() + "/test_accelerator_" +
                           testing::UnitTest::GetInstance()->current_test_info()->name() + ".toml";
  std::ofstream(path) << content;
  return load_accelerator(path);
}

std::string message_of_change(const std::string& file, const std::string& from, const std::string& to) {
  return message_of([&] { load_changed(file, from, to); });
}

TEST(Accelerator, ShippedFilesHaveEqualDenseThroughputAndEqualSurroundings) {
  // slots that do one 8x8-bit product per cycle: 8 of a serial design, 64 of a two-sided one; BitVert's are half as
  // many because it never adds more than half of the bits of a column
  const std::vector<std::pair<std::string, int>> files = {
      {"bit_parallel", 1}, {"stripes", 8},    {"dynamic_stripes", 8},   {"loom", 64},    {"pragmatic", 8},
      {"tactical_p", 8},   {"tactical_e", 8}, {"pragmatic_weights", 8}, {"laconic", 64}, {"bitlet", 8},
      {"bitwave", 8},      {"bitvert", 4},    {"bitcluster", 8}};
  const Accelerator reference = load_accelerator(folder + "bit_parallel.toml");
  for (const auto& [file, lanes_per_product] : files) {
    const Accelerator accelerator = load_accelerator(folder + file + ".toml");
    EXPECT_EQ(accelerator.slots_per_cycle(), 256 * lanes_per_product) << file;
    EXPECT_EQ(accelerator.design->name, file);
    EXPECT_EQ(accelerator.clock_ghz, reference.clock_ghz) << file;
    EXPECT_EQ(accelerator.weight_buffer, reference.weight_buffer) << file;
    EXPECT_EQ(accelerator.activation_buffer, reference.activation_buffer) << file;
    EXPECT_EQ(accelerator.off_chip_gbyte_per_s, reference.off_chip_gbyte_per_s) << file;
    EXPECT_EQ(accelerator.on_chip_energy, reference.on_chip_energy) << file;
    EXPECT_EQ(accelerator.off_chip_energy, reference.off_chip_energy) << file;
    EXPECT_EQ(accelerator.leakage_energy, reference.leakage_energy) << file;
    EXPECT_EQ(accelerator.buffer_area, reference.buffer_area) << file;
  }
}

// The prices of the files, derived anew from the sources that they name.
TEST(Accelerator, ShippedPricesFollowFromTheirSources) {
  const auto adder_pj = [](double bits) { return 0.03 + (0.1 - 0.03) / 24 * (bits - 8); };
  const auto adder_um2 = [](double bits) { return 36 + (137.0 - 36) / 24 * (bits - 8); };
  const double mux_pj = (0.1 - 0.03) / 24 * 6 / 28, mux_um2 = (137.0 - 36) / 24 * 6 / 28;
  struct Price {
    std::string file;
    double pj, um2;
  };
  const double accumulator_pj = 0.1 / 16, accumulator_um2 = 137.0 / 16;
  const double stripes_pj = 8 * mux_pj + adder_pj(12) + accumulator_pj,
               stripes_um2 = 8 * mux_um2 + adder_um2(12) + accumulator_um2;
  const double pragmatic_pj = 22 * mux_pj + adder_pj(15) + (64 * mux_pj + 0.1) / 16,
               pragmatic_um2 = 22 * mux_um2 + adder_um2(15) + (64 * mux_um2 + 137) / 16;
  const std::vector<Price> prices = {
      {"bit_parallel", 0.2 + adder_pj(20) + accumulator_pj, 282 + adder_um2(20) + accumulator_um2},
      {"stripes", stripes_pj, stripes_um2},
      {"dynamic_stripes", stripes_pj, stripes_um2},
      {"loom", mux_pj + adder_pj(5) + accumulator_pj, mux_um2 + adder_um2(5) + accumulator_um2},
      {"pragmatic", pragmatic_pj, pragmatic_um2},
      {"pragmatic_weights", pragmatic_pj, pragmatic_um2},
      {"laconic", adder_pj(4) + 64 * mux_pj + adder_pj(20) + accumulator_pj,
       adder_um2(4) + 64 * mux_um2 + adder_um2(20) + accumulator_um2},
      {"tactical_p", stripes_pj + 7 * mux_pj, stripes_um2 + 7 * mux_um2},
      {"tactical_e", pragmatic_pj + 28 * mux_pj, pragmatic_um2 + 28 * mux_um2},
      {"bitlet", 120 * mux_pj + adder_pj(16) + 0.1 / 8, 120 * mux_um2 + adder_um2(16) + 137.0 / 8},
      {"bitwave", 8 * mux_pj + adder_pj(12) + (57 * mux_pj + 0.1) / 16,
       8 * mux_um2 + adder_um2(12) + (57 * mux_um2 + 137) / 16},
      {"bitvert", 32 * mux_pj + adder_pj(12) * 1.375 + (57 * mux_pj + 0.1) / 8,
       32 * mux_um2 + adder_um2(12) * 1.375 + (57 * mux_um2 + 137) / 8},
      {"bitcluster", 45 * mux_pj + adder_pj(19) + accumulator_pj, 45 * mux_um2 + adder_um2(19) + accumulator_um2}};
  for (const Price& price : prices) {
    const Accelerator accelerator = load_accelerator(folder + price.file + ".toml");
    EXPECT_NEAR(accelerator.term_energy, price.pj, 0.00006) << price.file;  // four digits
    EXPECT_NEAR(accelerator.lane_area, price.um2, 0.06) << price.file;
    EXPECT_DOUBLE_EQ(accelerator.on_chip_energy, 20.0 / 8) << price.file;
    EXPECT_DOUBLE_EQ(accelerator.off_chip_energy, (1300.0 + 2600.0) / 2 / 8) << price.file;
  }
}

TEST(Accelerator, ReadsEveryKey) {
  const Accelerator pragmatic = load_changed("pragmatic_weights.toml", "\"binary\"", "\"signed_digit\"");
  EXPECT_EQ(pragmatic.name, "Pragmatic (weights)");
  EXPECT_EQ(pragmatic.design->name, "pragmatic_weights");
  EXPECT_EQ(pragmatic.encoding, Encoding::signed_digit);
  EXPECT_EQ(pragmatic.first_stage_shift, 2);
  EXPECT_EQ(pragmatic.columns, 8);
  EXPECT_EQ(load_changed("stripes.toml", "# precision = 8", "precision = 6").precision, 6);
  EXPECT_EQ(load_accelerator(folder + "stripes.toml").precision, 0);
  EXPECT_EQ(load_changed("bitcluster.toml", "\"rotate\"", "\"single\"").fc_columns, FullyConnectedColumns::single);
  EXPECT_EQ(load_changed("bitcluster.toml", "weight_buffer_kib = 512", "weight_buffer_kib = 3").weight_buffer, 3072);
}

TEST(Accelerator, PeersAreSettingsOfOneArray) {
  int dnnsim = 0, bitsim = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "peers")) {
    const Accelerator accelerator = load_accelerator(entry.path());
    EXPECT_EQ(accelerator.name, entry.path().stem());
    if (accelerator.peer == Peer::dnnsim) {
      ++dnnsim;
      EXPECT_EQ(accelerator.lanes, 16) << accelerator.name;
      EXPECT_EQ(accelerator.rows, 16) << accelerator.name;
      EXPECT_EQ(accelerator.columns, 16) << accelerator.name;
      EXPECT_EQ(accelerator.tiles, 16) << accelerator.name;
    } else {
      ++bitsim;
      EXPECT_EQ(accelerator.peer, Peer::bitsim) << accelerator.name;
      EXPECT_EQ(accelerator.lanes, accelerator.design->name == "bitwave" ? 8 : 16) << accelerator.name;
      EXPECT_EQ(accelerator.rows, 32) << accelerator.name;
      EXPECT_EQ(accelerator.columns, 32) << accelerator.name;
    }
  }
  EXPECT_EQ(dnnsim, 8);
  EXPECT_EQ(bitsim, 5);
}

TEST(Accelerator, FitsAnAreaWithWholeRows) {
  Accelerator accelerator;
  accelerator.lanes = accelerator.rows = 10;
  accelerator.columns = 8;
  accelerator.lane_area = 100;  // a row of 8 columns has 8000 um2
  EXPECT_EQ(fit_area(accelerator, accelerator.array_mm2()).rows, 10);
  const Accelerator larger = fit_area(accelerator, 0.1);
  EXPECT_EQ(larger.columns, 8);
  EXPECT_EQ(larger.rows, 12);
  const Accelerator smaller = fit_area(accelerator, 0.02);  // 2 columns: 2000 um2, 4 columns would give 5 rows
  EXPECT_EQ(smaller.columns, 2);
  EXPECT_EQ(smaller.rows, 10);
  EXPECT_NE(message_of([&] { fit_area(accelerator, 0.0009); }).find("not one row"), std::string::npos);
  accelerator.lane_area = 0;
  EXPECT_NE(message_of([&] { fit_area(accelerator, 1); }).find("has no area"), std::string::npos);
}

TEST(Accelerator, AreaIsLanesAndBuffers) {
  Accelerator accelerator;
  accelerator.lanes = 2;
  accelerator.rows = 3;
  accelerator.columns = 5;
  accelerator.tiles = 7;
  accelerator.lane_area = 1000;
  accelerator.weight_buffer = 400;
  accelerator.activation_buffer = 100;
  accelerator.buffer_area = 20;
  EXPECT_DOUBLE_EQ(accelerator.array_mm2(), 0.21);
  EXPECT_DOUBLE_EQ(accelerator.buffer_mm2(), 0.01);
}

TEST(Accelerator, RejectsWhatItCannotUse) {
  EXPECT_NE(message_of([] { load_accelerator("/nonexistent.toml"); }).find("no such file"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "lanes = 16", "lanes = 0").find("out of range"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "lanes = 16", "").find("missing"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "rows = 16", "rows = 16\nrow = 2").find("array.row"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "\"stripes\"", "\"strips\"").find("bit_parallel"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "name = \"Stripes\"", "name = \"\"").find("empty"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "\"rotate\"", "\"turn\"").find("rotate"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "25.6", "0").find("out of range"), std::string::npos);
  EXPECT_NE(message_of_change("stripes.toml", "term_pj", "term_nj").find("term_pj"), std::string::npos);
  EXPECT_NE(message_of_change("pragmatic_weights.toml", "shift = 2", "shift = 5").find("out of range"),
            std::string::npos);
  EXPECT_NE(message_of_change("pragmatic_weights.toml", "45nm", "4nm").find("4nm.toml"), std::string::npos);
  EXPECT_NE(message_of_change("tactical_e.toml", "lanes = 16", "lanes = 65").find("out of range"), std::string::npos);
  EXPECT_NE(message_of_change("tactical_e.toml", "lookaside = 5", "lookaside = 4").find("2 and 5"), std::string::npos);
  EXPECT_NE(message_of_change("pragmatic.toml", "clock_ghz", "peer = \"bitsim\"\nclock_ghz").find("weights only"),
            std::string::npos);
  EXPECT_NE(message_of_change("bitcluster.toml", "\"binary\"", "\"booth_dnnsim\"").find("signed_digit"),
            std::string::npos);
}

TEST(Accelerator, EveryFieldDecidesTheContentKeyAndTheNameDoesNot) {
  const Accelerator accelerator = load_accelerator(folder + "bitcluster.toml");
  const Key key = content_key(accelerator);
  std::set<Key> keys = {key};
  for (const AcceleratorField& field : accelerator_fields()) {
    Accelerator changed = accelerator;
    const auto add_one = [](auto value) -> AcceleratorField::Value { return value + 1; };
    field.set(changed, std::visit(add_one, field.of(accelerator)));
    EXPECT_NE(field.of(changed), field.of(accelerator)) << field.key;
    EXPECT_TRUE(keys.insert(content_key(changed)).second) << field.key;
  }
  Accelerator changed = accelerator;
  changed.name = "another";
  EXPECT_EQ(content_key(changed), key);
  changed.design = &design_named("stripes");
  EXPECT_TRUE(keys.insert(content_key(changed)).second);
}

TEST(Accelerator, RejectsAKeyThatTheDesignHasNoUseFor) {
  EXPECT_NE(
      message_of_change("stripes.toml", "clock_ghz", "first_stage_shift = 2\nclock_ghz").find("first_stage_shift"),
      std::string::npos);
  EXPECT_NE(message_of_change("bit_parallel.toml", "clock_ghz", "encoding = \"binary\"\nclock_ghz").find("encoding"),
            std::string::npos);
}

}  // namespace
}  // namespace bitcluster
