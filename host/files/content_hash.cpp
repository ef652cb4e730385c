#include "host/files/content_hash.hpp"

#define XXH_INLINE_ALL  // its header is the whole library
#include <xxhash.h>

namespace bitcluster {

Key hash(std::span<const std::byte> bytes) {
  const XXH128_hash_t value = XXH3_128bits(bytes.data(), bytes.size());
  return {value.high64, value.low64};
}

KeyBuilder& KeyBuilder::add(std::string_view text) {
  const std::uint64_t length = text.size();
  append('t', &length, sizeof length);
  const auto characters = std::as_bytes(std::span(text));
  bytes_.insert(bytes_.end(), characters.begin(), characters.end());
  return *this;
}

KeyBuilder& KeyBuilder::append(char type, const void* data, std::size_t bytes) {
  bytes_.push_back(std::byte(type));
  const std::byte* const first = static_cast<const std::byte*>(data);
  bytes_.insert(bytes_.end(), first, first + bytes);
  return *this;
}

}  // namespace bitcluster
