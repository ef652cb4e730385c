#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace bitcluster {

/// Names a result by the content of everything that decides it: 128 bits of XXH3, so that two of 10^9 results collide
/// with a probability below 10^-20.
using Key = std::array<std::uint64_t, 2>;
Key hash(std::span<const std::byte> bytes);
/// Of everything in a file; tells how many bytes it has read, again and again. Error if it is no regular file or cannot
/// be read.
Key hash_file(const std::string& path, const std::function<void(std::size_t bytes)>& read = {});
/// 32 hexadecimal digits, as `xxhsum -H128` prints them.
std::string to_hex(const Key& key);

/// Collects what decides a result, each item behind its type and a text behind its length, so that no two lists give
/// the same bytes.
class KeyBuilder {
 public:
  KeyBuilder& add(std::string_view text);
  KeyBuilder& add(std::int64_t number) { return append('i', &number, sizeof number); }
  KeyBuilder& add(double number) { return append('d', &number, sizeof number); }
  KeyBuilder& add(const Key& key) { return append('k', key.data(), sizeof key); }
  /// The contents of an array of numbers, or of structs of them without padding.
  template <class T>
  KeyBuilder& add(std::span<const T> values) {
    constexpr char type = std::is_floating_point_v<T> ? 'F' : std::is_signed_v<T> ? 'S' : 'A';
    constexpr std::size_t element = sizeof(T);
    append(type, &element, sizeof element);
    return add(hash(std::as_bytes(values)));
  }
  Key key() const { return hash(bytes_); }

 private:
  KeyBuilder& append(char type, const void* data, std::size_t bytes);

  std::vector<std::byte> bytes_;
};

}  // namespace bitcluster
