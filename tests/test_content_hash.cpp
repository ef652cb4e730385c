#include <gtest/gtest.h>

#include <vector>

#include "host/files/content_hash.hpp"

namespace bitcluster {
namespace {

template <class T>
Key key_of(std::vector<T> values) {
  return KeyBuilder().add(std::span<const T>(values)).key();
}

TEST(KeyBuilder, TellsListsApart) {
  EXPECT_NE(KeyBuilder().add("ab").add("c").key(), KeyBuilder().add("a").add("bc").key());
  EXPECT_NE(KeyBuilder().add("ab").key(), KeyBuilder().add("a").add("b").key());
  EXPECT_NE(KeyBuilder().add(std::int64_t(1)).add(std::int64_t(2)).key(),
            KeyBuilder().add(std::int64_t(2)).add(std::int64_t(1)).key());
  EXPECT_NE(KeyBuilder().key(), KeyBuilder().add("").key());
}

// Items of the same bytes, or of none.
TEST(KeyBuilder, TellsTypesApart) {
  const std::vector<Key> keys = {KeyBuilder().add(std::int64_t(0)).key(),
                                 KeyBuilder().add(0.0).key(),
                                 KeyBuilder().add("").key(),
                                 KeyBuilder().add(Key{}).key(),
                                 KeyBuilder().add(std::int64_t(0)).add(std::int64_t(0)).key(),
                                 KeyBuilder().add(hash({})).key(),
                                 key_of(std::vector<std::int32_t>{}),
                                 key_of(std::vector<float>{}),
                                 key_of(std::vector<double>{}),
                                 key_of(std::vector<std::uint32_t>{})};
  for (std::size_t a = 0; a < keys.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) EXPECT_NE(keys[a], keys[b]) << a << " " << b;
  }
}

TEST(KeyBuilder, GoesByContents) {
  EXPECT_EQ(key_of(std::vector<float>{1, 2}), key_of(std::vector<float>{1, 2}));
  EXPECT_NE(key_of(std::vector<float>{1, 2}), key_of(std::vector<float>{1, 3}));
  EXPECT_EQ(KeyBuilder().add("a").add(1.5).key(), KeyBuilder().add("a").add(1.5).key());
}

}  // namespace
}  // namespace bitcluster
