#include "host/files/content_hash.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>

#include "host/base/error.hpp"
#include "host/files/posix_file.hpp"
#define XXH_INLINE_ALL  // its header is the whole library
#include <xxhash.h>

namespace bitcluster {

Key hash(std::span<const std::byte> bytes) {
  const XXH128_hash_t value = XXH3_128bits(bytes.data(), bytes.size());
  return {value.high64, value.low64};
}

Key hash_file(const std::string& path, const std::function<void(std::size_t)>& read) {
  check_readable(path);
  const Descriptor file(path, O_RDONLY);
  const auto reject = [&] {
    throw Error(fmt::format("cannot read '{}'", path), system_reason(), "check the file system");
  };
  if (!file) reject();
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  std::vector<std::byte> chunk(std::size_t(1) << 20);
  while (const ssize_t count = ::read(file.id(), chunk.data(), chunk.size())) {
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) reject();
    XXH3_128bits_update(&state, chunk.data(), std::size_t(count));
    if (read) read(std::size_t(count));
  }
  const XXH128_hash_t value = XXH3_128bits_digest(&state);
  return {value.high64, value.low64};
}

std::string to_hex(const Key& key) { return fmt::format("{:016x}{:016x}", key[0], key[1]); }

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
