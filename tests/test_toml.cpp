#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "host/files/toml.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

TomlTable parse(const std::string& text) {
  const std::string path =
      testing::TempDir() + "/test_toml_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".toml";
  std::ofstream(path) << text;
  return TomlTable::load(path);
}

TEST(Toml, ReadsEveryType) {
  TomlTable table = parse("a = 'x'\nb = 3\nc = 1\nd = true\ne = [1, 2]\n[t]\nf = 2.5\n[[u]]\ng = 1\n[[u]]\ng = 2\n");
  EXPECT_EQ(table.text("a"), "x");
  EXPECT_EQ(table.integer("b", 0, 9), 3);
  EXPECT_EQ(table.number("c", 0, 9), 1.0);
  EXPECT_TRUE(table.boolean("d"));
  EXPECT_EQ(table.integers("e", 0, 9), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(table.table("t").number("f", 0, 9), 2.5);
  auto tables = table.tables("u");
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[1].integer("g", 0, 9), 2);
  EXPECT_EQ(table.integer("missing", 0, 9, 7), 7);
  EXPECT_EQ(message_of([&] { table.finish(); }), "");
}

TEST(Toml, NamesAMisspelledKeyWithItsLineAndTheClosestOne) {
  TomlTable table = parse("seed = 1\nbudgte = 0.01\n");
  table.integer("seed", 0, 9);
  table.number("budget", 0, 1, 0.5);
  const std::string message = message_of([&] { table.finish(); });
  EXPECT_NE(message.find("line 2"), std::string::npos) << message;
  EXPECT_NE(message.find("budgte"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean 'budget'"), std::string::npos) << message;
}

TEST(Toml, RejectsWrongTypesRangesChoicesAndSyntax) {
  TomlTable table = parse("a = 'x'\nb = 30\nc = 1.5\n");
  EXPECT_NE(message_of([&] { table.integer("a", 0, 9); }).find("wrong type"), std::string::npos);
  EXPECT_NE(message_of([&] { table.integer("b", 0, 9); }).find("out of range"), std::string::npos);
  EXPECT_NE(message_of([&] { table.integer("c", 0, 9); }).find("wrong type"), std::string::npos);
  EXPECT_NE(message_of([&] { table.text("none"); }).find("missing"), std::string::npos);
  EXPECT_NE(message_of([&] { table.choice("a", {"y", "z"}); }).find("y, z"), std::string::npos);
  EXPECT_NE(message_of([&] { parse("a = \n"); }).find("line 1"), std::string::npos);
  EXPECT_NE(message_of([&] { TomlTable::parse("a = ", "gone.toml"); }).find("'gone.toml' line 1"), std::string::npos);
  EXPECT_NE(message_of([&] { TomlTable::load("/nonexistent.toml"); }).find("no such file"), std::string::npos);
}

// The parser of toml++ asserts that they do not happen; what it would do in a build without assertions is undefined.
TEST(Toml, NamesSyntaxErrorsThatItsParserDoesNotExpect) {
  for (const char* text : {"[[[a", "[=", "[[=]]", "[.a]", "[#", "[ [a]]", "a = [[[", "[\"\"\"a\"\"\"]"}) {
    EXPECT_MESSAGE(TomlTable::parse(text, "bad.toml"), "cannot read 'bad.toml' line 1: ");
  }
}

TEST(Toml, NamesFilesThatCannotBeRead) {
  EXPECT_MESSAGE(TomlTable::load(testing::TempDir()), "it is a folder");
  EXPECT_MESSAGE(TomlTable::load("/proc/self/mem"), "cannot read '/proc/self/mem': Input/output error");
  EXPECT_MESSAGE(TomlTable::load("/" + std::string(300, 'n')), "File name too long");
  const std::string path = testing::TempDir() + "/large.toml";
  std::ofstream(path).close();
  std::filesystem::resize_file(path, (16 << 20) + 1);
  EXPECT_MESSAGE(TomlTable::load(path), "it has 16777217 bytes, at most 16777216 are read");
}

TEST(Toml, WritesNumbersShortly) {
  TomlTable table = parse("a = inf\nb = nan\nc = 1e300\nd = -1e-9\ne = 2.5\n");
  constexpr double largest = std::numeric_limits<double>::max();
  EXPECT_MESSAGE(table.number("a", -largest, largest), "a: inf is out of range; give a finite number");
  EXPECT_MESSAGE(table.number("b", -largest, largest), "b: nan is out of range; give a finite number");
  EXPECT_MESSAGE(table.number("c", 0, 1e12), "c: 1e+300 is out of range; use a value from 0 to 1000000000000");
  EXPECT_MESSAGE(table.number("d", 0, largest), "d: -1e-09 is out of range; use a value from 0 to 1.79769e+308");
  EXPECT_MESSAGE(table.number("e", 0.001, 1.25), "e: 2.5 is out of range; use a value from 0.001 to 1.25");
}

}  // namespace
}  // namespace bitcluster
