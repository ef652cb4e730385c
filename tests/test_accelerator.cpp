#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "host/accelerator.hpp"
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
  const std::string path = testing::TempDir() + "/test_accelerator_" +
                           testing::UnitTest::GetInstance()->current_test_info()->name() + ".toml";
  std::ofstream(path) << content;
  return load_accelerator(path);
}

std::string message_of_change(const std::string& file, const std::string& from, const std::string& to) {
  return message_of([&] { load_changed(file, from, to); });
}

TEST(Accelerator, ShippedFilesHaveEqualDenseThroughputAndEqualSurroundings) {
  // 8 terms per weight or activation bits: 8 lanes of a serial design, 64 of a two-sided one, do one product per cycle
  const std::vector<std::pair<std::string, int>> files = {
      {"bit_parallel", 1}, {"stripes", 8}, {"pragmatic_weights", 8}, {"bitcluster", 8}, {"laconic", 64}};
  const Accelerator reference = load_accelerator(folder + "bit_parallel.toml");
  for (const auto& [file, lanes_per_product] : files) {
    const Accelerator accelerator = load_accelerator(folder + file + ".toml");
    EXPECT_EQ(accelerator.lanes_in_all(), 256 * lanes_per_product) << file;
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
  const std::vector<Price> prices = {
      {"bit_parallel", 0.2 + adder_pj(20) + 0.1 / 16, 282 + adder_um2(20) + 137.0 / 16},
      {"stripes", 8 * mux_pj + adder_pj(12) + 0.1 / 16, 8 * mux_um2 + adder_um2(12) + 137.0 / 16},
      {"pragmatic_weights", 22 * mux_pj + adder_pj(15) + (64 * mux_pj + 0.1) / 16,
       22 * mux_um2 + adder_um2(15) + (64 * mux_um2 + 137.0) / 16},
      {"laconic", adder_pj(4) + 64 * mux_pj + adder_pj(20) + 0.1 / 16,
       adder_um2(4) + 64 * mux_um2 + adder_um2(20) + 137.0 / 16},
      {"bitcluster", 45 * mux_pj + adder_pj(19) + 0.1 / 16, 45 * mux_um2 + adder_um2(19) + 137.0 / 16}};
  for (const Price& price : prices) {
    const Accelerator accelerator = load_accelerator(folder + price.file + ".toml");
    EXPECT_NEAR(accelerator.term_energy, price.pj, 0.0003) << price.file;  // four digits, rounded factors
    EXPECT_NEAR(accelerator.lane_area, price.um2, 0.2) << price.file;
    EXPECT_DOUBLE_EQ(accelerator.on_chip_energy, 20.0 / 8) << price.file;
    EXPECT_DOUBLE_EQ(accelerator.off_chip_energy, (1300.0 + 2600.0) / 2 / 8) << price.file;
  }
}

TEST(Accelerator, ReadsEveryKey) {
  const Accelerator pragmatic = load_changed("pragmatic_weights.toml", "\"binary\"", "\"signed_digit\"");
  EXPECT_EQ(pragmatic.name, "Pragmatic (weights)");
  EXPECT_EQ(pragmatic.design, Design::pragmatic_weights);
  EXPECT_EQ(pragmatic.encoding, Encoding::signed_digit);
  EXPECT_EQ(pragmatic.first_stage_shift, 2);
  EXPECT_EQ(pragmatic.columns, 8);
  EXPECT_EQ(load_changed("stripes.toml", "# precision = 8", "precision = 6").precision, 6);
  EXPECT_EQ(load_accelerator(folder + "stripes.toml").precision, 0);
  EXPECT_EQ(load_changed("bitcluster.toml", "\"rotate\"", "\"single\"").fc_columns, FullyConnectedColumns::single);
  EXPECT_EQ(load_changed("bitcluster.toml", "weight_buffer_kib = 512", "weight_buffer_kib = 3").weight_buffer, 3072);
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
  EXPECT_DOUBLE_EQ(accelerator.area_mm2(), 0.21 + 0.01);
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
