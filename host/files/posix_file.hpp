#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bitcluster {

/// The system's words for errno.
std::string system_reason();

/// An open file descriptor that closes itself and leaves errno alone.
class Descriptor {
 public:
  Descriptor() = default;
  /// flags: of open(2). Without a file, and errno set, if it cannot be opened.
  Descriptor(const std::string& path, int flags);
  Descriptor(Descriptor&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Descriptor();

  explicit operator bool() const { return id_ >= 0; }
  int id() const { return id_; }
  /// False with errno set if it fails, which some file systems keep until then.
  bool close();

 private:
  int id_ = -1;
};

// ---- Reading

/// Error unless a regular file is there that can be opened. Says what else it is: a folder, a FIFO or a device is never
/// opened, since that may wait for ever or do something.
void check_readable(const std::string& path, const std::string& what_to_do = "check the path");

/// No output of this process may replace what is there, under whatever name.
void remember_input(const std::string& path);

/// Both, of a file that the user gave to be read.
void check_input(const std::string& path, const std::string& what_to_do = "check the path");

/// All bytes of a file that the user gave. Error if it cannot be read, or has more than `most` bytes.
std::vector<std::byte> read_input(const std::string& path, std::size_t most);

/// All bytes of a file; nothing, with errno set, if reading fails.
std::optional<std::vector<std::byte>> read_all(const Descriptor& file);

// ---- Writing

/// Writes from `offset` on; false with errno set if anything fails, and then a part may be there.
bool write_at(const Descriptor& file, std::span<const std::byte> bytes, std::uint64_t offset);

/// Error unless nothing is at `path`, or a regular file (both also behind symbolic links) that is no input: only that
/// may be replaced. Returns where it is, behind the links.
std::string check_replaceable(const std::string& path);

/// Checks before long work that `path` can be written later: the same, and that its folder is writable.
void check_writable(const std::string& path);

/// Writes beside the target, syncs, then renames: the final name never holds a partial file. Error (with the system's
/// reason) if anything fails, or the target may not be replaced; the target is then as it was.
void write_durably(const std::string& path, std::span<const std::byte> bytes);

}  // namespace bitcluster
