#include "host/files/posix_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

/// What else than a regular file is there; empty if it is one.
std::string other_kind(const struct stat& status) {
  if (S_ISREG(status.st_mode)) return "";
  if (S_ISDIR(status.st_mode)) return "it is a folder";
  if (S_ISFIFO(status.st_mode)) return "it is a FIFO or a pipe, not a file";
  if (S_ISSOCK(status.st_mode)) return "it is a socket, not a file";
  return "it is a device, not a file";
}

// ---- Inputs of this process

/// By their names, each compared with an output when that is written: a file that was removed has no inode any more.
struct Inputs {
  std::mutex mutex;
  std::set<std::string> paths;
};

Inputs& inputs() {
  static Inputs all;
  return all;
}

bool is_same(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

bool is_input(const struct stat& output) {
  const std::lock_guard lock(inputs().mutex);
  return std::ranges::any_of(inputs().paths, [&](const std::string& path) {
    struct stat input {};
    return ::stat(path.c_str(), &input) == 0 && is_same(input, output);
  });
}

/// Whether what this program prints goes there.
bool is_printed_to(const struct stat& status) {
  struct stat printed {};
  return std::ranges::any_of(std::array{STDOUT_FILENO, STDERR_FILENO},
                             [&](int stream) { return ::fstat(stream, &printed) == 0 && is_same(printed, status); });
}

/// Opens a regular file to read it. Error if there is none.
Descriptor open_readable(const std::string& path, const std::string& what_to_do) {
  const auto reject = [&](const std::string& why) {
    throw Error(fmt::format("cannot read '{}'", path), why, what_to_do);
  };
  if (path.empty()) reject("the name is empty");
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) reject(errno == ENOENT ? "there is no such file" : system_reason());
  if (const std::string other = other_kind(status); !other.empty()) reject(other);
  Descriptor file(path, O_RDONLY);
  if (!file) reject(system_reason());
  return file;
}

// ---- Outputs

/// What the symbolic links at `path` lead to, whether or not it is there.
std::string behind_links(const std::string& path) {
  constexpr int most_links = 40;  // of Linux itself
  std::filesystem::path place(path);
  for (int links = 0; links < most_links; ++links) {
    std::error_code none;
    const std::filesystem::path target = std::filesystem::read_symlink(place, none);
    if (none) break;
    place = target.is_absolute() ? target : place.parent_path() / target;
  }
  return place.string();
}

/// Temporary name beside the target; the process id keeps two programs that write the same target apart. Of a name that
/// is near the 255 bytes of most file systems only the beginning is taken.
std::string partial_name(const std::string& target) {
  constexpr std::size_t most_of_name = 200;  // [byte]
  const std::string name = std::filesystem::path(target).filename().string().substr(0, most_of_name);
  return fmt::format("{}/{}.{}.partial", folder_of(target), name, ::getpid());
}

/// A new file of that name, of which a killed process may have left one.
Descriptor create_partial(const std::string& name) {
  ::unlink(name.c_str());
  return Descriptor(name, O_WRONLY | O_CREAT | O_EXCL);
}

/// Writes and syncs a new file; false with errno set if anything fails.
bool write_synced(const std::string& path, std::span<const std::byte> bytes) {
  Descriptor file = create_partial(path);
  return file && write_at(file, bytes, 0) && ::fsync(file.id()) == 0 && file.close();
}

/// Makes a rename in this folder durable; false with errno set if it fails.
bool sync_folder(const std::string& path) {
  const Descriptor folder(path, O_RDONLY | O_DIRECTORY);
  if (!folder) return false;
  return ::fsync(folder.id()) == 0 || errno == EINVAL;  // EINVAL: this file system cannot sync folders
}

[[noreturn]] void fail_to_write(const std::string& path, const std::string& reason) {
  throw Error("cannot write '" + path + "'", reason, "free some space or choose another output file");
}

}  // namespace

std::string system_reason() { return std::strerror(errno); }

Descriptor::Descriptor(const std::string& path, int flags) : id_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}

Descriptor::~Descriptor() {
  const int reason = errno;  // of the call that failed before, not of close
  close();
  errno = reason;
}

bool Descriptor::close() { return id_ < 0 || ::close(std::exchange(id_, -1)) == 0; }

// ---- Reading

void check_readable(const std::string& path, const std::string& what_to_do) { open_readable(path, what_to_do); }

void remember_input(const std::string& path) {
  const std::lock_guard lock(inputs().mutex);
  inputs().paths.insert(path);
}

void check_input(const std::string& path, const std::string& what_to_do) {
  check_readable(path, what_to_do);
  remember_input(path);
}

std::vector<std::byte> read_input(const std::string& path, std::size_t most) {
  const auto reject = [&](const std::string& why, const std::string& what_to_do) {
    throw Error(fmt::format("cannot read '{}'", path), why, what_to_do);
  };
  const Descriptor file = open_readable(path, "check the path");
  remember_input(path);
  struct stat status {};
  if (::fstat(file.id(), &status) != 0) reject(system_reason(), "check the file system");
  if (std::uint64_t(status.st_size) > most) {
    reject(fmt::format("it has {} bytes, at most {} are read", status.st_size, most), "give a smaller file");
  }
  auto content = read_all(file);
  if (!content) reject(system_reason(), "check the file system");
  return std::move(*content);
}

std::optional<std::vector<std::byte>> read_all(const Descriptor& file) {
  struct stat status {};
  if (::fstat(file.id(), &status) != 0) return std::nullopt;
  // one byte more, so that the end is seen; those of /proc say that they are empty
  std::vector<std::byte> content(static_cast<std::size_t>(status.st_size) + 1);
  for (std::size_t done = 0;;) {
    if (done == content.size()) content.resize(2 * done);
    const ssize_t count = ::pread(file.id(), content.data() + done, content.size() - done, off_t(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::nullopt;
    if (count == 0) {
      content.resize(done);
      return content;
    }
    done += std::size_t(count);
  }
}

// ---- Writing

bool write_at(const Descriptor& file, std::span<const std::byte> bytes, std::uint64_t offset) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::pwrite(file.id(), bytes.data() + done, bytes.size() - done, off_t(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    done += std::size_t(count);
  }
  return true;
}

std::string check_replaceable(const std::string& path) {
  const auto reject = [&](const std::string& why, const std::string& what_to_do) {
    throw Error(fmt::format("cannot write '{}'", path), why, what_to_do);
  };
  if (path.empty()) reject("the name is empty", "name an output file");
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    const std::string other = other_kind(status);
    if (!other.empty()) reject(other, "name a file, or one that is not there yet; nothing else is replaced");
    if (is_input(status)) reject("it is an input of this command", "name another output file");
    if (is_printed_to(status)) reject("what is printed goes there", "name another output file");
  } else if (errno == ENAMETOOLONG || errno == ELOOP) {
    reject(system_reason(), "name another output file");
  }
  return behind_links(path);
}

void check_writable(const std::string& path) {
  const std::string target = check_replaceable(path), folder = folder_of(target);
  const auto reject = [&](const std::string& why) {
    throw Error(fmt::format("cannot write '{}'", path), why,
                "name an output file in a folder that exists and is writable");
  };
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) reject(fmt::format("folder '{}': {}", folder, system_reason()));
  if (!S_ISDIR(status.st_mode)) reject(fmt::format("'{}' is not a folder", folder));
  // permission bits do not tell the truth for root, on read-only and on network file systems: try it
  const std::string probe = partial_name(target);
  const Descriptor file = create_partial(probe);
  if (!file) reject(fmt::format("folder '{}': {}", folder, system_reason()));
  ::unlink(probe.c_str());
}

void write_durably(const std::string& path, std::span<const std::byte> bytes) {
  const std::string target = check_replaceable(path), partial = partial_name(target);
  if (!write_synced(partial, bytes) || ::rename(partial.c_str(), target.c_str()) != 0) {
    const std::string reason = system_reason();
    ::unlink(partial.c_str());
    fail_to_write(path, reason);
  }
  if (!sync_folder(folder_of(target))) fail_to_write(path, system_reason());
}

}  // namespace bitcluster
