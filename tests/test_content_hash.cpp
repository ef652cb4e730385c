#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "host/files/content_hash.hpp"
#include "tests/expect_message.hpp"

namespace bitcluster {
namespace {

template <class T>
Key key_of(std::vector<T> values) {
  return KeyBuilder().add(std::span<const T>(values)).key();
}

TEST(Hash, OfAFileIsThatOfItsBytes) {
  EXPECT_EQ(to_hex(hash({})), "99aa06d3014798d86001c324468d497f");  // the library's own test vector
  const std::string path = testing::TempDir() + "/hashed";
  for (const std::size_t size : {0, 1, 1000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3000000}) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = std::byte(i * 7 + i / 256);
    std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(size));
    EXPECT_EQ(hash_file(path), hash(bytes)) << size;
  }
}

TEST(Hash, OfNoRegularFileIsAnError) {
  EXPECT_MESSAGE(hash_file(testing::TempDir() + "/none"), "there is no such file");
  EXPECT_MESSAGE(hash_file(testing::TempDir()), "it is a folder");
  const std::string fifo = testing::TempDir() + "/fifo";
  ::unlink(fifo.c_str());
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_MESSAGE(hash_file(fifo), "it is a FIFO");  // and does not wait for a writer
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
