#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "host/base/checked_product.hpp"
#include "host/base/printable.hpp"

namespace bitcluster {
namespace {

TEST(CheckedProduct, IsTheProductOrNothing) {
  using Extents = std::vector<std::int64_t>;
  EXPECT_EQ(checked_product(Extents{}, 10), 1u);
  EXPECT_EQ(checked_product(Extents{2, 5}, 10), 10u);
  EXPECT_EQ(checked_product(Extents{2, 5}, 9), std::nullopt);
  EXPECT_EQ(checked_product(Extents{-2, -5}, 10), std::nullopt);
  // 2^33 x 2^30: its low 63 bits alone are 2^63, which as int64 is below any limit
  EXPECT_EQ(checked_product(Extents{8589934592, 1073741824}, std::uint64_t(1) << 33), std::nullopt);
  EXPECT_EQ(checked_product(Extents{8, 1 << 30, 1 << 30, 2}, std::uint64_t(1) << 33), std::nullopt);  // 0 modulo 2^64
  EXPECT_EQ(checked_product(std::vector<std::uint64_t>{std::numeric_limits<std::uint64_t>::max(), 1}, 9), std::nullopt);
}

TEST(CheckedProduct, OfZeroIsZeroWhereverItStands) {
  const std::int64_t huge = std::int64_t(1) << 62;
  for (const std::vector<std::int64_t>& factors :
       {std::vector<std::int64_t>{0, huge, huge}, {huge, 0, huge}, {huge, huge, 0}}) {
    EXPECT_EQ(checked_product(factors, 1), 0u);
  }
}

TEST(Printable, LeavesTextAsItIs) {
  for (const char* text : {"", "AlexNet", "conv1/weights:0 \\ |", "\xC3\xA4", "\xE2\x88\x92", "\xF0\x9F\x98\x80"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, EscapesWhatATerminalWouldObey) {
  EXPECT_EQ(printable("a\nb\tc\rd"), "a\\nb\\tc\\rd");
  EXPECT_EQ(printable("\x1b[31mred"), "\\x1b[31mred");
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("\x7f"), "\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\xc2\\x9b31m");  // the control sequence introducer, as UTF-8
  EXPECT_EQ(printable("\x9B"
                      "31m"),
            "\\x9b31m");  // and as one byte
  EXPECT_EQ(printable("\xE2\x80\xAE"
                      "abc"),
            "\\xe2\\x80\\xaeabc");                          // right to left from here on
  EXPECT_EQ(printable("\xE2\x80\xA8"), "\\xe2\\x80\\xa8");  // a new line
}

TEST(Printable, EscapesWhatIsNotUtf8) {
  EXPECT_EQ(printable("\xE4 Latin-1"), "\\xe4 Latin-1");
  EXPECT_EQ(printable("cut \xE2\x88"), "cut \\xe2\\x88");
  EXPECT_EQ(printable("\xC0\x8A"), "\\xc0\\x8a");           // a line feed in two bytes
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(printable("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

}  // namespace
}  // namespace bitcluster
