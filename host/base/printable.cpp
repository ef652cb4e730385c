#include "host/base/printable.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

namespace bitcluster {
namespace {

struct Character {
  std::size_t bytes;        //!< that it takes
  std::uint32_t codepoint;  //!< of UTF-8
  bool valid;               //!< else `bytes` is 1
};

/// The first character of a text that is not empty. UTF-8 as RFC 3629 has it: shortest form, no surrogates.
Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return std::uint32_t(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {1, lead, true};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {1, 0, false};
  std::uint32_t codepoint = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {1, 0, false};
    codepoint = codepoint << 6 | (byte(i) & 0x3F);
  }
  const std::uint32_t least = bytes == 4 ? 0x10000 : bytes == 3 ? 0x800 : 0x80;
  const bool surrogate = codepoint >= 0xD800 && codepoint <= 0xDFFF;
  if (codepoint < least || codepoint > 0x10FFFF || surrogate) return {1, 0, false};
  return {bytes, codepoint, true};
}

bool is_plain(std::uint32_t codepoint) {
  const bool control = codepoint < 0x20 || (codepoint >= 0x7F && codepoint <= 0x9F);
  const bool breaks = codepoint == 0x2028 || codepoint == 0x2029;  // line and paragraph
  const bool reorders = codepoint == 0x200E || codepoint == 0x200F || codepoint == 0x061C ||
                        (codepoint >= 0x202A && codepoint <= 0x202E) || (codepoint >= 0x2066 && codepoint <= 0x2069);
  return !control && !breaks && !reorders;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::string_view bytes = text.substr(0, character.bytes);
    text.remove_prefix(character.bytes);
    if (character.valid && is_plain(character.codepoint)) {
      safe += bytes;
    } else if (bytes == "\n") {
      safe += "\\n";
    } else if (bytes == "\t") {
      safe += "\\t";
    } else if (bytes == "\r") {
      safe += "\\r";
    } else {
      for (const char byte : bytes) safe += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
    }
  }
  return safe;
}

}  // namespace bitcluster
