#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "host/error.hpp"
#include "host/summary.hpp"

namespace bitcluster {
namespace {

void add_evaluation(Results& results, const std::string& model, const std::string& assignment, double terms,
                    double top1, double loss, const std::string& split = "test") {
  results.evaluations.add({model, assignment, std::string("bitcluster"), std::string("binary"), terms, split,
                           std::int64_t(1000), top1, 0.99, 0.5, loss, loss - 0.002, loss + 0.002, 1.5});
}

void add_emulation(Results& results, const std::string& model, const std::string& assignment,
                   const std::string& accelerator, const std::string& layer, std::int64_t cycles, std::int64_t slots,
                   std::int64_t useful, double energy) {
  std::vector<Value> row(results.emulation.columns.size());
  for (std::size_t c = 0; c < row.size(); ++c) {
    if (results.emulation.columns[c].type == Column::Type::integer) row[c] = std::int64_t(0);
    if (results.emulation.columns[c].type == Column::Type::real) row[c] = 0.0;
    if (results.emulation.columns[c].type == Column::Type::text) row[c] = std::string();
  }
  const auto set = [&](const char* column, Value value) {
    row[std::size_t(results.emulation.column(column))] = std::move(value);
  };
  set("model", model);
  set("assignment", assignment);
  set("accelerator", accelerator);
  set("layer", layer);
  set("cycles", cycles);
  set("slots", slots);
  set("useful", useful);
  set("energy_pj", energy);
  results.emulation.add(row);
}

/// Two models: `one` has everything, `two` has no M-BC within the budget and was not emulated with L-BC on Stripes.
Results made_results() {
  Results results;
  add_evaluation(results, "one", "float", 0, 0.90, 0);
  add_evaluation(results, "one", "integer", 3.5, 0.899, 0.001);
  add_evaluation(results, "one", "M-BC", 3, 0.895, 0.005);
  add_evaluation(results, "one", "M-BC", 3, 0.50, 0.4, "search");  // must not be shown
  add_evaluation(results, "one", "L-BC", 2.25, 0.892, 0.008);
  add_evaluation(results, "two", "float", 0, 0.80, 0);
  add_evaluation(results, "two", "integer", 3.1, 0.80, 0);
  add_evaluation(results, "two", "L-BC", 2.5, 0.795, 0.005);
  add_emulation(results, "one", "integer", "Stripes", "a", 600, 1000, 300, 4e6);
  add_emulation(results, "one", "integer", "Stripes", "b", 200, 3000, 900, 2e6);
  add_emulation(results, "one", "M-BC", "BitCluster", "a", 300, 1000, 700, 2e6);
  add_emulation(results, "one", "M-BC", "BitCluster", "b", 100, 1000, 500, 1e6);
  add_emulation(results, "one", "L-BC", "BitCluster", "a", 150, 1000, 900, 1e6);
  add_emulation(results, "one", "L-BC", "BitCluster", "b", 50, 1000, 300, 1e6);
  add_emulation(results, "two", "integer", "Stripes", "a", 900, 1000, 250, 9e6);
  add_emulation(results, "two", "L-BC", "BitCluster", "a", 100, 1000, 500, 1e6);
  results.skipped.add({"two", "search", "M-BC", "no number of terms stays within the budget of 1 %"});
  results.skipped.add({"three", "import", "conv1", "operator Foo is not supported"});
  return results;
}

/// The row of the summary with these names, -1 if there is none.
int row_of(const Table& summary, const std::string& model, const std::string& assignment,
           const std::string& accelerator) {
  for (std::size_t row = 0; row < summary.rows.size(); ++row) {
    if (summary.text(row, "model") == model && summary.text(row, "assignment") == assignment &&
        summary.text(row, "accelerator") == accelerator) {
      return int(row);
    }
  }
  return -1;
}

TEST(Summary, SumsLayersAndDividesAsWorkedByHand) {
  Results results = made_results();
  summarize(results);
  const Table& summary = results.summary;
  const int row = row_of(summary, "one", "integer", "Stripes");
  ASSERT_GE(row, 0);
  const auto number = [&](const char* column) { return summary.number(std::size_t(row), column); };
  EXPECT_EQ(number("float_top1"), 0.90);
  EXPECT_EQ(number("top1"), 0.899);
  EXPECT_EQ(number("loss"), 0.001);
  EXPECT_EQ(number("loss_low"), 0.001 - 0.002);
  EXPECT_EQ(number("loss_high"), 0.001 + 0.002);
  EXPECT_EQ(number("terms_mean"), 3.5);
  EXPECT_EQ(number("cycles"), 800);
  EXPECT_DOUBLE_EQ(number("utilisation"), 0.3);  // (300 + 900) / (1000 + 3000), not the mean of the layers'
  EXPECT_EQ(number("energy_pj"), 6e6);
  EXPECT_DOUBLE_EQ(number("speedup_m_bc"), 2);            // 800 / 400
  EXPECT_DOUBLE_EQ(number("energy_ratio_m_bc"), 2);       // 6 / 3
  EXPECT_DOUBLE_EQ(number("utilisation_ratio_m_bc"), 2);  // 0.6 / 0.3
  EXPECT_DOUBLE_EQ(number("speedup_l_bc"), 4);            // 800 / 200
  EXPECT_DOUBLE_EQ(number("energy_ratio_l_bc"), 3);       // 6 / 2
  EXPECT_DOUBLE_EQ(number("utilisation_ratio_l_bc"), 2);  // 0.6 / 0.3
  EXPECT_EQ(summary.number(std::size_t(row_of(summary, "one", "M-BC", "BitCluster")), "top1"), 0.895);
  EXPECT_EQ(summary.number(std::size_t(row_of(summary, "one", "M-BC", "BitCluster")), "speedup_m_bc"), 1);
}

TEST(Summary, TakesGeometricMeansOfWhatIsThere) {
  Results results = made_results();
  summarize(results);
  const int row = row_of(results.summary, "geometric mean", "integer", "Stripes");
  ASSERT_GE(row, 0);
  const auto number = [&](const char* column) { return results.summary.number(std::size_t(row), column); };
  EXPECT_DOUBLE_EQ(number("speedup_l_bc"), 6);                   // sqrt(4 * 9)
  EXPECT_DOUBLE_EQ(number("energy_ratio_l_bc"), std::sqrt(27));  // sqrt(3 * 9)
  EXPECT_DOUBLE_EQ(number("utilisation_ratio_l_bc"), 2);         // sqrt(2 * 2)
  EXPECT_DOUBLE_EQ(number("speedup_m_bc"), 2);                   // of `one` alone
  EXPECT_TRUE(std::isnan(number("cycles")));
  EXPECT_TRUE(std::isnan(number("top1")));
  EXPECT_TRUE(std::isnan(
      results.summary.number(std::size_t(row_of(results.summary, "two", "integer", "Stripes")), "speedup_m_bc")));
}

TEST(Summary, KeepsAccuracyWithoutEmulationAndEmulationWithoutAccuracy) {
  Results accuracy = made_results();
  accuracy.emulation.rows.clear();
  summarize(accuracy);
  EXPECT_EQ(accuracy.summary.rows.size(), 5u);  // integer, M-BC, L-BC of `one`; integer, L-BC of `two`
  EXPECT_GE(row_of(accuracy.summary, "one", "M-BC", ""), 0);
  Results emulation = made_results();
  emulation.evaluations.rows.clear();
  summarize(emulation);
  const int row = row_of(emulation.summary, "one", "integer", "Stripes");
  ASSERT_GE(row, 0);
  EXPECT_TRUE(std::isnan(emulation.summary.number(std::size_t(row), "top1")));
  EXPECT_EQ(emulation.summary.number(std::size_t(row), "cycles"), 800);
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
  EXPECT_NE(from_python.find("one,integer,Stripes,0.9,0.899,"), std::string::npos) << from_python;
  results.summary.rows[0][std::size_t(results.summary.column("speedup_l_bc"))] = 4.01;
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
  EXPECT_TRUE(empty.summary.rows.empty());
  EXPECT_EQ(format_summary(empty, TableFormat::text), "");
}

/// The words of the line that starts with `start`, after `after`.
std::string line_with(const std::string& text, const std::string& start, const std::string& after = "") {
  std::istringstream lines(text.substr(after.empty() ? 0 : text.find(after)));
  std::string line;
  while (std::getline(lines, line)) {
    if (line.starts_with(start)) {
      std::istringstream words(line);
      std::string word, joined;
      while (words >> word) joined += (joined.empty() ? "" : " ") + word;
      return joined;
    }
  }
  return "";
}

TEST(Summary, TextSaysWhatAResearcherAsks) {
  Results results = made_results();
  summarize(results);
  const std::string text = format_summary(results, TableFormat::text);
  EXPECT_EQ(line_with(text, "one "), "one 90.00 89.90 89.50 3 0.50 [0.30, 0.70] 89.20 2.25 0.80 [0.60, 1.00]");
  EXPECT_EQ(line_with(text, "two "), "two 80.00 80.00 - - - 79.50 2.50 0.50 [0.30, 0.70]");
  EXPECT_NE(text.find("two, no M-BC: no number of terms stays within the budget"), std::string::npos) << text;
  EXPECT_EQ(line_with(text, "one ", "Emulation"), "one Stripes integer 800 30.0 6.00 2.00 2.00 4.00 3.00");
  EXPECT_EQ(line_with(text, "two ", "Emulation"), "two Stripes integer 900 25.0 9.00 - - 9.00 9.00");
  EXPECT_EQ(line_with(text, "Stripes ", "Geometric"), "Stripes integer 2 2.00 2.00 2.00 2.00 6.00 5.20");
  EXPECT_EQ(line_with(text, "claim [", "Geometric"), "claim [TCAD'22] 6 1.60 3.40 5.00");
  EXPECT_NE(text.find("three, import, conv1: operator Foo is not supported"), std::string::npos) << text;
}

TEST(Summary, TextFitsIn120Columns) {
  Results results;
  const std::string model(60, 'm'), accelerator(70, 'a');
  add_evaluation(results, model, "float", 0, 0.9, 0);
  add_evaluation(results, model, "M-BC", 3, 0.9, -0.123);
  add_emulation(results, model, "M-BC", accelerator, "l", 123456789012345, 1000, 700, 2e12);
  std::string reason(300, 'r');
  for (int word = 0; word < 60; ++word) reason += " because";
  results.skipped.add({model, "search", "L-BC", reason});
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
  results.skipped.add({"a|b", "search", "M-BC", "x"});
  add_evaluation(results, "with, \"comma\"", "integer", 3.1, 0.80, 0);
  summarize(results);
  const std::string markdown = format_summary(results, TableFormat::markdown);
  EXPECT_NE(markdown.find("| one | 90.00 | 89.90 | 89.50 | 3 | 0.50 [0.30, 0.70] |"), std::string::npos) << markdown;
  EXPECT_NE(markdown.find("| a\\|b |"), std::string::npos);
  const std::string csv = format_summary(results, TableFormat::csv);
  EXPECT_TRUE(csv.starts_with("model,assignment,accelerator,float_top1,top1,loss,")) << csv;
  EXPECT_NE(csv.find("\none,integer,Stripes,0.9,0.899,0.001,"), std::string::npos) << csv;
  EXPECT_NE(csv.find("\n\"with, \"\"comma\"\"\",integer,,"), std::string::npos) << csv;
  EXPECT_EQ(csv.find("nan"), std::string::npos);
  EXPECT_THROW(table_format_from_string("html"), Error);
  EXPECT_EQ(table_format_from_string("csv"), TableFormat::csv);
}

}  // namespace
}  // namespace bitcluster
