#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

namespace {

constexpr std::size_t huge_page = std::size_t(2) << 20;

bool begins_a_huge_page(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory) % huge_page == 0; }

TEST(HugePages, LargeBlocksBeginOne) {
  for (const std::size_t bytes : {2 * huge_page, 2 * huge_page + 1, 37 * huge_page - 5}) {
    const std::vector<std::uint8_t> block(bytes, 1);
    EXPECT_TRUE(begins_a_huge_page(block.data())) << bytes;
    EXPECT_EQ(std::accumulate(block.begin(), block.end(), std::size_t(0)), bytes);
  }
}

TEST(HugePages, SmallBlocksStaySmall) {
  // a hundred of them fit where a hundred huge pages would not
  std::vector<std::unique_ptr<char[]>> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(std::make_unique<char[]>(5000));
  const auto [low, high] = std::minmax_element(blocks.begin(), blocks.end());
  EXPECT_LT(high->get() - low->get(), std::ptrdiff_t(100 * huge_page));
}

TEST(HugePages, AlignmentIsKept) {
  for (const std::size_t bytes : {std::size_t(1), std::size_t(100), 3 * huge_page}) {
    void* const memory = ::operator new(bytes, std::align_val_t(4096));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 4096, 0u);
    ::operator delete(memory, std::align_val_t(4096));
  }
}

TEST(HugePages, TooMuchIsAnError) {
  volatile std::size_t most = std::numeric_limits<std::ptrdiff_t>::max() - huge_page;
  EXPECT_THROW(::operator delete(::operator new(most)), std::bad_alloc);
  EXPECT_THROW(::operator delete(::operator new(most, std::align_val_t(64)), std::align_val_t(64)), std::bad_alloc);
}

}  // namespace
