#include "host/files/posix_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

/// Temporary name beside the target; the process id keeps two programs that write the same target apart.
std::string partial_name(const std::string& path) { return fmt::format("{}.{}.partial", path, ::getpid()); }

/// Writes and syncs a new file; false with errno set if anything fails.
bool write_synced(const std::string& path, std::span<const std::byte> bytes) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
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

std::optional<std::vector<std::byte>> read_all(const Descriptor& file) {
  struct stat status {};
  if (::fstat(file.id(), &status) != 0) return std::nullopt;
  std::vector<std::byte> content(static_cast<std::size_t>(status.st_size));
  for (std::size_t done = 0; done < content.size();) {
    const ssize_t count = ::pread(file.id(), content.data() + done, content.size() - done, off_t(done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::nullopt;
    if (count == 0) {
      content.resize(done);
      break;
    }
    done += std::size_t(count);
  }
  return content;
}

bool write_at(const Descriptor& file, std::span<const std::byte> bytes, std::uint64_t offset) {
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t count = ::pwrite(file.id(), bytes.data() + done, bytes.size() - done, off_t(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    done += std::size_t(count);
  }
  return true;
}

void check_writable(const std::string& path) {
  const auto reject = [&](const std::string& why) {
    throw Error("cannot write '" + path + "'", why, "name an output file in a folder that exists and is writable");
  };
  if (path.empty()) reject("the name is empty");
  if (std::filesystem::is_directory(path)) reject("it is a folder");
  const std::string folder = folder_of(path);
  struct stat status;
  if (::stat(folder.c_str(), &status) != 0) reject("folder '" + folder + "': " + system_reason());
  if (!S_ISDIR(status.st_mode)) reject("'" + folder + "' is not a folder");
  // permission bits do not tell the truth for root, on read-only and on network file systems: try it
  const std::string probe = partial_name(path);
  const Descriptor file(probe, O_WRONLY | O_CREAT | O_TRUNC);
  if (!file) reject("folder '" + folder + "': " + system_reason());
  ::unlink(probe.c_str());
}

void write_durably(const std::string& path, std::span<const std::byte> bytes) {
  const std::string partial = partial_name(path);
  if (!write_synced(partial, bytes) || ::rename(partial.c_str(), path.c_str()) != 0) {
    const std::string reason = system_reason();
    ::unlink(partial.c_str());
    fail_to_write(path, reason);
  }
  if (!sync_folder(folder_of(path))) fail_to_write(path, system_reason());
}

}  // namespace bitcluster
