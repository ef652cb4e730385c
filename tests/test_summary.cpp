#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "host/base/error.hpp"
#include "host/results/file.hpp"
#include "host/results/report.hpp"
#include "host/results/summary.hpp"

namespace bitcluster {
namespace {

void add_evaluation(Results& results, const std::string& model, const std::string& assignment, double terms,
                    double top1, double loss, const std::string& split = "test") {
  results.evaluations.push_back({.model = model,
                                 .assignment = assignment,
                                 .weights = "bitcluster",
                                 .encoding = "binary",
                                 .rounding = "nearest",
                                 .terms_mean = terms,
                                 .terms_per_product = terms > 0 ? terms - 1 : 0,
                                 .split = split,
                                 .images = 1000,
                                 .top1 = top1,
                                 .top5 = 0.99,
                                 .cross_entropy = 0.5,
                                 .loss = loss,
                                 .loss_low = loss - 0.002,
                                 .loss_high = loss + 0.002,
                                 .seconds = 1.5});
}

struct Emulated {
  std::string model, assignment, accelerator, layer;
  std::int64_t cycles, compute_cycles, useful;
  std::int64_t edge, lane, row_column, null_term, memory;
  double energy;
  std::string basis = throughput_basis;
  std::int64_t images = 1, zero_bits_known = 1;
};

void add_emulation(Results& results, const Emulated& given) {
  EmulationRow row{.model = given.model,
                   .assignment = given.assignment,
                   .basis = given.basis,
                   .accelerator = given.accelerator,
                   .layer = given.layer,
                   .images = given.images,
                   .cycles = given.cycles,
                   .compute_cycles = given.compute_cycles};
  row.slots = given.useful + given.edge + given.lane + given.row_column + given.null_term + given.memory;
  row.useful = given.useful;
  row.zero_bits_known = given.zero_bits_known;
  row.idle_edge = given.edge;
  row.idle_lane = given.lane;
  row.idle_row_column = given.row_column;
  row.idle_null_term = given.null_term;
  row.idle_memory = given.memory;
  row.energy_pj = given.energy;
  results.emulation.push_back(row);
}

/// One lane per processing element: slots per cycle are rows x columns x tiles.
void add_accelerator(Results& results, const std::string& basis, const std::string& name, std::int64_t rows,
                     std::int64_t columns, std::int64_t tiles, double lane_um2) {
  const std::int64_t slots = rows * columns * tiles;
  results.accelerators.push_back({.basis = basis,
                                  .accelerator = name,
                                  .design = "any",
                                  .lanes = 1,
                                  .rows = rows,
                                  .columns = columns,
                                  .tiles = tiles,
                                  .slots_per_cycle = slots,
                                  .dense_products_per_cycle = 256,
                                  .clock_ghz = 1,
                                  .weight_buffer = 1024,
                                  .activation_buffer = 1024,
                                  .off_chip_gbyte_per_s = 25.6,
                                  .term_pj = 0.1,
                                  .lane_um2 = lane_um2,
                                  .array_mm2 = double(slots) * lane_um2 * 1e-6,
                                  .buffer_mm2 = 0.01});
}

/// Two models: `one` has everything, `two` has no M-BC within the budget and was not emulated with it. At equal area
/// `one` ran on several images, and `two` not on BitCluster. BitPruner runs on Pragmatic, beside plain integers.
Results made_results() {
  Results results;
  add_evaluation(results, "one", "float", 0, 0.90, 0);
  add_evaluation(results, "one", "integer", 3.5, 0.899, 0.001);
  add_evaluation(results, "one", "M-BC", 3, 0.895, 0.005);
  add_evaluation(results, "one", "M-BC", 3, 0.50, 0.4, "search");  // must not be shown
  add_evaluation(results, "one", "L-BC", 2.25, 0.892, 0.008);
  add_evaluation(results, "one", "BitPruner", 2.75, 0.88, 0.02);
  add_evaluation(results, "two", "float", 0, 0.80, 0);
  add_evaluation(results, "two", "integer", 3.1, 0.80, 0);
  add_evaluation(results, "two", "L-BC", 2.5, 0.795, 0.005);
  add_evaluation(results, "two", "BitPruner", 2.5, 0.79, 0.01);
  // model, weights, accelerator, layer, cycles, compute, useful, edge, lane, row_column, null_term, memory, energy
  for (const Emulated& emulated : std::vector<Emulated>{
           {"one", "integer", "Stripes", "a", 600, 250, 600, 0, 0, 0, 1900, 3500, 4e6},
           {"one", "integer", "Stripes", "b", 200, 200, 1800, 20, 30, 50, 100, 0, 2e6},
           {"one", "integer", "Pragmatic", "a", 700, 700, 1400, 0, 4200, 0, 0, 0, 7e6},
           {"one", "BitPruner", "Pragmatic", "a", 500, 450, 2000, 0, 1600, 0, 0, 400, 5e6},
           {"one", "M-BC", "BitCluster", "a", 300, 300, 1000, 0, 0, 0, 500, 0, 2e6},
           {"one", "M-BC", "BitCluster", "b", 100, 100, 200, 0, 0, 0, 300, 0, 1e6},
           {"one", "L-BC", "BitCluster", "a", 150, 100, 400, 0, 0, 0, 100, 250, 1e6},
           {"one", "L-BC", "BitCluster", "b", 50, 50, 200, 0, 0, 0, 50, 0, 1e6},
           {"one", "integer", "Stripes", "a", 9600, 9600, 11520, 0, 0, 0, 7680, 0, 32e6, area_basis, 4},
           {"one", "M-BC", "BitCluster", "a", 800, 800, 2400, 0, 0, 0, 1600, 0, 6e6, area_basis, 2},
           {"one", "L-BC", "BitCluster", "a", 400, 300, 1200, 0, 0, 0, 300, 500, 4e6, area_basis, 2},
           {"two", "integer", "Stripes", "a", 900, 540, 2250, 0, 0, 0, 3150, 3600, 9e6},
           {"two", "L-BC", "BitCluster", "a", 100, 20, 250, 0, 0, 0, 0, 250, 1e6},
           {"two", "integer", "Stripes", "a", 900, 900, 1800, 0, 0, 0, 0, 0, 9e6, area_basis}}) {
    add_emulation(results, emulated);
  }
  add_accelerator(results, throughput_basis, "Stripes", 2, 5, 1, 40000);
  add_accelerator(results, throughput_basis, "Pragmatic", 2, 2, 2, 20000);
  add_accelerator(results, throughput_basis, "BitCluster", 1, 5, 1, 16000);
  add_accelerator(results, area_basis, "Stripes", 2, 1, 1, 40000);
  add_accelerator(results, area_basis, "BitCluster", 1, 5, 1, 16000);
  results.skipped.push_back({"two", Stage::search, "M-BC", "no number of terms stays within the budget of 1 %"});
  results.skipped.push_back({"three", Stage::import, "conv1", "operator Foo is not supported"});
  return results;
}

/// The row of the summary with these names; a failed test and an empty row if there is none.
SummaryRow row_of(const Results& results, const std::string& model, const std::string& assignment,
                  const std::string& accelerator, const std::string& basis = throughput_basis) {
  for (const SummaryRow& row : results.summary) {
    if (row.model == model && row.assignment == assignment && row.accelerator == accelerator && row.basis == basis) {
      return row;
    }
  }
  ADD_FAILURE() << "no row of " << model << ", " << assignment << " on " << accelerator;
  return {};
}

TEST(Summary, SumsLayersAndDividesAsWorkedByHand) {
  Results results = made_results();
  summarize(results);
  const SummaryRow row = row_of(results, "one", "integer", "Stripes");
  EXPECT_EQ(row.float_top1, 0.90);
  EXPECT_EQ(row.top1, 0.899);
  EXPECT_EQ(row.loss, 0.001);
  EXPECT_EQ(row.loss_low, 0.001 - 0.002);
  EXPECT_EQ(row.loss_high, 0.001 + 0.002);
  EXPECT_EQ(row.terms_mean, 3.5);
  EXPECT_EQ(row.cycles, 800);
  EXPECT_EQ(row.compute_cycles, 450);
  EXPECT_DOUBLE_EQ(row.utilisation, 0.3);  // (600 + 1800) / (6000 + 2000), not the mean of the layers'
  EXPECT_DOUBLE_EQ(row.idle_edge, 20 / 8000.);
  EXPECT_DOUBLE_EQ(row.idle_lane, 30 / 8000.);
  EXPECT_DOUBLE_EQ(row.idle_row_column, 50 / 8000.);
  EXPECT_DOUBLE_EQ(row.idle_null_term, 2000 / 8000.);
  EXPECT_DOUBLE_EQ(row.idle_memory, 3500 / 8000.);
  EXPECT_EQ(row.energy_pj, 6e6);
  EXPECT_DOUBLE_EQ(row.m_bc.speedup, 2);              // 800 / 400
  EXPECT_DOUBLE_EQ(row.m_bc.energy_ratio, 2);         // 6 / 3
  EXPECT_DOUBLE_EQ(row.m_bc.utilisation_ratio, 2);    // 0.6 / 0.3
  EXPECT_DOUBLE_EQ(row.l_bc.speedup, 4);              // 800 / 200
  EXPECT_DOUBLE_EQ(row.m_bc.compute_speedup, 1.125);  // 450 / 400
  EXPECT_DOUBLE_EQ(row.l_bc.compute_speedup, 3);      // 450 / 150
  EXPECT_DOUBLE_EQ(row.l_bc.energy_ratio, 3);         // 6 / 2
  EXPECT_DOUBLE_EQ(row.l_bc.utilisation_ratio, 2);    // 0.6 / 0.3
  EXPECT_EQ(row_of(results, "one", "M-BC", "BitCluster").top1, 0.895);
  EXPECT_EQ(row_of(results, "one", "M-BC", "BitCluster").m_bc.speedup, 1);
}

TEST(Summary, TakesGeometricMeansOfWhatIsThere) {
  Results results = made_results();
  summarize(results);
  const SummaryRow row = row_of(results, "geometric mean", "integer", "Stripes");
  EXPECT_DOUBLE_EQ(row.l_bc.speedup, 6);                   // sqrt(4 * 9)
  EXPECT_DOUBLE_EQ(row.l_bc.energy_ratio, std::sqrt(27));  // sqrt(3 * 9)
  EXPECT_DOUBLE_EQ(row.l_bc.utilisation_ratio, 2);         // sqrt(2 * 2)
  EXPECT_DOUBLE_EQ(row.l_bc.compute_speedup, 9);           // sqrt(3 * 27)
  EXPECT_DOUBLE_EQ(row.m_bc.speedup, 2);                   // of `one` alone
  EXPECT_DOUBLE_EQ(row.utilisation, 4650 / 17000.);        // of both models' slots together
  EXPECT_DOUBLE_EQ(row.idle_memory, 7100 / 17000.);
  EXPECT_TRUE(std::isnan(row.cycles));
  EXPECT_TRUE(std::isnan(row.top1));
  EXPECT_TRUE(std::isnan(row_of(results, "two", "integer", "Stripes").m_bc.speedup));
}

TEST(Summary, ComparesWithinABasisAndPerImage) {
  Results results = made_results();
  summarize(results);
  const auto of = [&](const char* model) { return row_of(results, model, "integer", "Stripes", area_basis); };
  EXPECT_EQ(of("one").cycles, 2400);                 // 9600 / 4 images
  EXPECT_EQ(of("one").energy_pj, 8e6);               // 32 / 4 images
  EXPECT_DOUBLE_EQ(of("one").m_bc.speedup, 6);       // (9600 / 4) / (800 / 2)
  EXPECT_DOUBLE_EQ(of("one").l_bc.speedup, 12);      // (9600 / 4) / (400 / 2)
  EXPECT_DOUBLE_EQ(of("one").l_bc.energy_ratio, 4);  // (32 / 4) / (4 / 2)
  EXPECT_TRUE(std::isnan(of("two").l_bc.speedup));   // it ran L-BC on the other basis only
  EXPECT_DOUBLE_EQ(of("geometric mean").l_bc.speedup, 12);
  EXPECT_DOUBLE_EQ(of("geometric mean").utilisation, (2880 + 1800) / (4800 + 1800.));  // slots per image
}

TEST(Summary, TakesAnyAssignment) {
  Results results = made_results();
  summarize(results);
  const SummaryRow pruned = row_of(results, "one", "BitPruner", "Pragmatic");
  EXPECT_EQ(pruned.top1, 0.88);
  EXPECT_DOUBLE_EQ(pruned.l_bc.speedup, 2.5);  // 500 / 200
  EXPECT_DOUBLE_EQ(row_of(results, "geometric mean", "BitPruner", "Pragmatic").l_bc.speedup, 2.5);
  EXPECT_EQ(row_of(results, "two", "BitPruner", "", "").top1, 0.79);
  EXPECT_EQ(row_of(results, "one", "integer", "Pragmatic").l_bc.speedup, 3.5);
}

TEST(Summary, KeepsAccuracyWithoutEmulationAndEmulationWithoutAccuracy) {
  Results accuracy = made_results();
  accuracy.emulation.clear();
  summarize(accuracy);
  EXPECT_EQ(accuracy.summary.size(), 7u);  // integer, L-BC, BitPruner of both and M-BC of `one`
  EXPECT_EQ(row_of(accuracy, "one", "M-BC", "", "").top1, 0.895);
  Results emulation = made_results();
  emulation.evaluations.clear();
  summarize(emulation);
  const SummaryRow row = row_of(emulation, "one", "integer", "Stripes");
  EXPECT_TRUE(std::isnan(row.top1));
  EXPECT_EQ(row.cycles, 800);
  EXPECT_EQ(format_summary(emulation, TableFormat::text).find("accuracy"), std::string::npos);
}

TEST(Summary, TheAnalysisScriptsReadItAndAgree) {
  const std::string python = "/usr/bin/python3 ";
  if (std::system((python + "-c 'import h5py, pandas' 2> /dev/null").c_str()) != 0) {
    GTEST_SKIP() << "h5py or pandas is not installed";
  }
  Results results = made_results();
  summarize(results);
  const std::string path = testing::TempDir() + "/summary_results.h5", csv = testing::TempDir() + "/summary.csv";
  write_results(path, results);
  const std::string tables = python + BITCLUSTER_SOURCE_DIR "/analysis/tables.py " + path;
  EXPECT_EQ(std::system((tables + " --check").c_str()), 0);
  ASSERT_EQ(std::system((tables + " --format csv > " + csv).c_str()), 0);
  std::ifstream file(csv);
  const std::string from_python{std::istreambuf_iterator<char>(file), {}};
  const std::string from_program = format_summary(results, TableFormat::csv);
  EXPECT_EQ(from_python.substr(0, from_python.find('\n')), from_program.substr(0, from_program.find('\n')));
  EXPECT_NE(from_python.find("one,throughput,integer,Stripes,0.9,0.899,"), std::string::npos) << from_python;
  results.summary[0].l_bc.speedup = 4.01;
  write_results(path, results);
  EXPECT_NE(std::system((tables + " --check 2> /dev/null").c_str()), 0);
}

TEST(Summary, IsFilledAnew) {
  Results results = made_results();
  summarize(results);
  const std::string before = format_summary(results, TableFormat::csv);
  summarize(results);
  EXPECT_EQ(format_summary(results, TableFormat::csv), before);
  Results empty;
  summarize(empty);
  EXPECT_TRUE(empty.summary.empty());
  EXPECT_EQ(format_summary(empty, TableFormat::text), "");
}

/// The words of the line that starts with `start`, after `after`.
std::string line_with(const std::string& text, const std::string& start, const std::string& after = "") {
  std::istringstream lines(text.substr(after.empty() ? 0 : text.find(after)));
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string word, joined;
    while (words >> word) joined += (joined.empty() ? "" : " ") + word;
    if (joined.starts_with(start)) return joined;
  }
  return "";
}

TEST(Summary, MarksWhatIsNotWithinTheBudgetOfItsSearch) {
  Results results = made_results();
  for (EvaluationRow& row : results.evaluations) {
    if (row.assignment != "L-BC" && row.assignment != "M-BC") continue;
    row.budget = row.model == "one" ? 0.005 : 0.01;
    row.within_budget = row.assignment == "M-BC";
  }
  for (const auto& [layer, bits, encoding, terms] : std::vector<std::tuple<std::string, int, std::string, int>>{
           {"a", 8, "binary", 1}, {"b", 8, "binary", 1}, {"c", 8, "signed_digit", 2}, {"d", 8, "binary", 2}}) {
    results.assignments.push_back({.model = "one",
                                   .assignment = "L-BC",
                                   .layer = layer,
                                   .preparation = "bitcluster",
                                   .bits = bits,
                                   .encoding = encoding,
                                   .rounding = "nearest",
                                   .terms = terms});
  }
  summarize(results);
  const std::string text = format_summary(results, TableFormat::text);
  // of "one" even the lower end of L-BC's interval, 0.6 %, is beyond 0.5 %; M-BC's, 0.3 %, is not
  EXPECT_EQ(line_with(text, "one "), "one 90.00 89.90 89.50 3 0.50 [0.30, 0.70] 89.20 2.25 1.25 ~! 0.80 [0.60, 1.00]");
  EXPECT_EQ(line_with(text, "two "), "two 80.00 80.00 - - - 79.50 2.50 1.50 ~ 0.50 [0.30, 0.70]");
  EXPECT_NE(text.find("~: the search found nothing within its budget"), std::string::npos) << text;
  EXPECT_NE(text.find("!: the whole interval lies above the budget"), std::string::npos) << text;
  EXPECT_NE(text.find("one: 1x2 2s 2"), std::string::npos) << text;
  EXPECT_EQ(line_with(text, "one BitCluster ~!", "Emulation"),
            "one BitCluster ~! L-BC 200 60.0 2.00 0.50 0.67 1.00 1.00");
  EXPECT_NE(text.find("the means include assignments that are marked above: one L-BC, two L-BC"), std::string::npos)
      << text;

  results.assignments[1].bits = 6;
  EXPECT_NE(format_summary(results, TableFormat::text).find("one: 1/8 1/6 2s/8 2/8"), std::string::npos);
}

TEST(Summary, TextSaysWhatAResearcherAsks) {
  Results results = made_results();
  summarize(results);
  const std::string text = format_summary(results, TableFormat::text);
  EXPECT_EQ(line_with(text, "one "), "one 90.00 89.90 89.50 3 0.50 [0.30, 0.70] 89.20 2.25 1.25 0.80 [0.60, 1.00]");
  EXPECT_EQ(line_with(text, "two "), "two 80.00 80.00 - - - 79.50 2.50 1.50 0.50 [0.30, 0.70]");
  EXPECT_NE(text.find("two, no M-BC: no number of terms stays within the budget"), std::string::npos) << text;
  EXPECT_EQ(line_with(text, "one ", "Emulation"), "one Stripes integer 800 30.0 6.00 2.00 2.00 4.00 3.00");
  EXPECT_EQ(line_with(text, "two ", "Emulation"), "two Stripes integer 900 25.0 9.00 - - 9.00 9.00");
  EXPECT_EQ(line_with(text, "one Pragmatic BitPruner", "Emulation"),
            "one Pragmatic BitPruner 500 50.0 5.00 1.25 1.67 2.50 2.50");
  EXPECT_EQ(text.find(" 2400 "), std::string::npos) << "rows of equal area are for csv";
  const std::string throughput = "at equal dense throughput:", area = "at equal area:";
  EXPECT_EQ(line_with(text, "Stripes ", throughput), "Stripes integer 1x2x5x1 0.400 2 2.00 2.00 2.00 2.00 6.00 5.20");
  EXPECT_EQ(line_with(text, "Pragmatic BitPruner", throughput),
            "Pragmatic BitPruner 1x2x2x2 0.160 1 1.20 1.25 1.67 1.20 2.50 2.50");
  EXPECT_EQ(line_with(text, "claim [", throughput), "claim [TCAD'22] 6 1.60 3.40 5.00");
  EXPECT_EQ(line_with(text, "Stripes ", area), "Stripes integer 1x2x1x1 0.080 1 1.00 6.00 2.67 1.00 12.00 4.00");
  EXPECT_EQ(line_with(text, "claim [", area), "claim [TCAD'22] 6 1.60 3.40 5.00");
  EXPECT_EQ(line_with(text, "one BitPruner"), "one BitPruner 88.00 2.75 1.75 2.00 [1.80, 2.20]");
  EXPECT_NE(text.find("each array resized to the area of BitCluster's"), std::string::npos) << text;
  EXPECT_EQ(text.find("upper bound"), std::string::npos) << text;
  EXPECT_NE(text.find("three, import, conv1: operator Foo is not supported"), std::string::npos) << text;
}

TEST(Summary, SpeedIsTimeAndNotCycles) {
  Results results = made_results();
  for (AcceleratorRow& row : results.accelerators) {
    if (row.accelerator == "Stripes") row.clock_ghz = 2;
  }
  summarize(results);
  const SummaryRow row = row_of(results, "one", "integer", "Stripes");
  EXPECT_EQ(row.cycles, 800);
  EXPECT_DOUBLE_EQ(row.l_bc.speedup, 2);            // (800 / 2) / 200
  EXPECT_DOUBLE_EQ(row.l_bc.compute_speedup, 1.5);  // (450 / 2) / 150
  EXPECT_DOUBLE_EQ(row.l_bc.energy_ratio, 3);
}

TEST(Summary, MarksArraysOfAnotherDenseThroughput) {
  Results results = made_results();
  summarize(results);
  EXPECT_NE(format_summary(results, TableFormat::markdown).find("BitCluster's gives 256 8-bit products per ns"),
            std::string::npos);
  const auto with = [&](double products, double clock) {
    results.accelerators[0].dense_products_per_cycle = products;  // of Stripes
    results.accelerators[0].clock_ghz = clock;
    return format_summary(results, TableFormat::text);
  };
  for (const auto& [products, clock] : {std::pair(128.0, 1.0), {256.0, 2.0}}) {
    const std::string text = with(products, clock);
    EXPECT_TRUE(line_with(text, "Stripes *", "at equal dense throughput:").starts_with("Stripes * integer 1x2x5x1"));
    EXPECT_TRUE(line_with(text, "Pragmatic integer", "at equal dense throughput:").starts_with("Pragmatic integer 1x"));
    EXPECT_NE(text.find(products == 128 ? "no equal comparison: Stripes 128" : "no equal comparison: Stripes 512"),
              std::string::npos)
        << text;
    EXPECT_EQ(line_with(text, "Stripes *", "at equal area:"), "") << "equal area is another comparison";
  }
  EXPECT_EQ(with(512, 0.5).find("no equal comparison"), std::string::npos) << "the same products per ns";
}

TEST(Summary, WithoutOnePrintsEvaluationsOrLayers) {
  Results results = made_results();
  results.emulation.clear();
  results.skipped.clear();
  results.layers.push_back({.model = "one", .layer = "conv1", .kind = "conv", .filters = 8, .channels = 3});
  EXPECT_EQ(line_with(format_summary(results, TableFormat::text), "one M-BC search"),
            "one M-BC search 1000 3.000 binary 50.00 99.00 0.5000");
  EXPECT_TRUE(format_summary(results, TableFormat::csv).starts_with("model,assignment,weights,"));
  results.evaluations.clear();
  EXPECT_TRUE(line_with(format_summary(results, TableFormat::text), "conv1").starts_with("conv1 conv 3 -> 8 "));
  EXPECT_TRUE(format_summary(results, TableFormat::csv).starts_with("model,layer,index,"));
}

TEST(Summary, TextSaysWhyTheClaimComesOutOrNot) {
  Results results = made_results();
  summarize(results);
  const std::string text = format_summary(results, TableFormat::text);
  EXPECT_EQ(line_with(text, "Stripes ", "Claim:"), "Stripes integer 6.00 9.00 5.20 27.4 0.1 0.2 0.3 30.3 41.8");
  EXPECT_EQ(line_with(text, "Pragmatic BitPruner", "Claim:"),
            "Pragmatic BitPruner 2.50 3.00 2.50 50.0 0.0 40.0 0.0 0.0 10.0");
  EXPECT_EQ(line_with(text, "claim [", "Claim:"), "claim [TCAD'22] 3.40 5.00");
}

TEST(Summary, TextSaysWhereZeroBitsCountAsUseful) {
  Results results = made_results();
  add_emulation(results, {"one", "integer", "Stripes", "c", 1, 1, 10, 0, 0, 0, 0, 0, 1, throughput_basis, 1, 0});
  summarize(results);
  const std::string text = format_summary(results, TableFormat::text);
  EXPECT_NE(text.find("Stripes ran without activations"), std::string::npos) << text;
}

TEST(Summary, TextFitsIn120Columns) {
  Results results;
  const std::string model(60, 'm'), accelerator(70, 'a');
  add_evaluation(results, model, "float", 0, 0.9, 0);
  add_evaluation(results, model, "M-BC", 3, 0.9, -0.123);
  for (const char* basis : {throughput_basis, area_basis}) {
    for (const char* assignment : {"M-BC", "L-BC"}) {
      add_emulation(results,
                    {model, assignment, accelerator, "l", 123456789012345, 1000, 700, 300, 0, 0, 0, 0, 2e12, basis});
    }
    add_accelerator(results, basis, accelerator, 4096, 4096, 4096, 1000);
  }
  std::string reason(300, 'r');
  for (int word = 0; word < 60; ++word) reason += " because";
  results.skipped.push_back({model, Stage::search, "L-BC", reason});
  summarize(results);
  std::istringstream lines(format_summary(results, TableFormat::text));
  std::string line, all;
  while (std::getline(lines, line)) {
    EXPECT_LE(line.size(), 120u) << line;
    all += line;
  }
  EXPECT_EQ(std::count(all.begin(), all.end(), 'r') >= 600, true);  // reasons are wrapped, not cut: twice 300
}

TEST(Summary, MarkdownAndCsvAreWellFormed) {
  Results results = made_results();
  results.skipped.push_back({"a|b", Stage::search, "M-BC", "x"});
  add_evaluation(results, "with, \"comma\"", "integer", 3.1, 0.80, 0);
  summarize(results);
  const std::string markdown = format_summary(results, TableFormat::markdown);
  EXPECT_NE(markdown.find("| one | 90.00 | 89.90 | 89.50 | 3 | 0.50 [0.30, 0.70] |"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("| a\\|b |"), std::string::npos);
  const std::string csv = format_summary(results, TableFormat::csv);
  EXPECT_TRUE(csv.starts_with("model,basis,assignment,accelerator,float_top1,top1,loss,")) << csv;
  EXPECT_NE(csv.find("\none,throughput,integer,Stripes,0.9,0.899,0.001,"), std::string::npos) << csv;
  EXPECT_NE(csv.find("\none,area,integer,Stripes,0.9,0.899,0.001,"), std::string::npos) << csv;
  EXPECT_NE(csv.find("\n\"with, \"\"comma\"\"\",,integer,,"), std::string::npos) << csv;
  EXPECT_EQ(csv.find("nan"), std::string::npos);
  EXPECT_THROW(table_format_from_string("html"), Error);
  EXPECT_EQ(table_format_from_string("csv"), TableFormat::csv);
}

}  // namespace
}  // namespace bitcluster
