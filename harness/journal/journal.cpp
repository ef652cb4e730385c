#include "harness/journal/journal.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

// The file: this line, the producer, a newline, then records.
constexpr std::string_view magic = "BitCluster journal 1\n";

/// In front of every record's payload. Little endian, as all machines that we know of.
struct RecordHeader {
  Key key;
  std::uint64_t bytes;     //!< of the payload
  std::uint64_t checksum;  //!< of key, bytes and payload
};

/// No result is near this size: a longer record is a broken one.
constexpr std::uint64_t largest_payload = std::uint64_t(1) << 31;

std::uint64_t checksum_of(const Key& key, std::span<const std::byte> payload) {
  KeyBuilder builder;
  return builder.add(key).add(std::int64_t(payload.size())).add(payload).key()[0];
}

[[noreturn]] void fail(const std::string& what, const std::string& path, const std::string& what_to_do) {
  throw Error(fmt::format("{} '{}'", what, path), system_reason(), what_to_do);
}

}  // namespace

Journal::Journal(const std::string& output, const std::string& producer, bool resume)
    : path_(check_replaceable(path_of(output))) {
  while (!open_locked(output)) {
  }
  read(producer, resume);
}

/// False if the file was removed in between, by a run that ended.
bool Journal::open_locked(const std::string& output) {
  file_ = Descriptor(path_, O_RDWR | O_CREAT);
  if (!file_) fail("cannot open", path_, "choose an output in a folder where files can be written");
  if (flock(file_.id(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      throw Error("'" + output + "' is being written by another run", "its journal '" + path_ + "' is locked",
                  "wait for that run, or choose another output");
    }
    // some network file systems have no locks
    fmt::print(stderr, "bitcluster: '{}' cannot be locked ({}); see that no other run writes it\n", path_,
               system_reason());
  }
  struct stat opened {
  }, named{};
  return fstat(file_.id(), &opened) == 0 && stat(path_.c_str(), &named) == 0 && opened.st_ino == named.st_ino;
}

void Journal::read(const std::string& producer, bool resume) {
  const std::string start = std::string(magic) + producer + "\n";
  const std::optional<std::vector<std::byte>> found = read_all(file_);
  if (!found) fail("cannot read", path_, "check the file system");
  const std::vector<std::byte>& content = *found;
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  if (text.size() < start.size() && std::string_view(start).starts_with(text)) {  // new, or killed at once
    try {
      if (ftruncate(file_.id(), 0) != 0) fail("cannot write", path_, "check the file system");
      write(std::as_bytes(std::span(start)));
      sync();
    } catch (...) {
      unlink(path_.c_str());
      throw;
    }
    return;
  }
  if (!text.starts_with(magic)) {
    throw Error("'" + path_ + "' is no journal", "it does not begin as one", "move it away");
  }
  if (!text.starts_with(start)) {
    const std::string_view other = text.substr(magic.size(), text.find('\n', magic.size()) - magic.size());
    throw Error("the interrupted run cannot be resumed",
                fmt::format("'{}' was written by {}, this is {}", path_, other, producer),
                "use the program that began the run, or delete the file to begin anew");
  }
  end_ = start.size();
  while (content.size() - end_ >= sizeof(RecordHeader)) {
    RecordHeader header;
    std::memcpy(&header, content.data() + end_, sizeof header);
    if (header.bytes > std::min(largest_payload, std::uint64_t(content.size() - end_ - sizeof header))) break;
    const std::span payload(content.data() + end_ + sizeof header, header.bytes);
    if (checksum_of(header.key, payload) != header.checksum) break;
    payloads_.emplace(header.key, std::vector(payload.begin(), payload.end()));
    end_ += sizeof header + header.bytes;
  }
  found_at_start_ = payloads_.size();
  bytes_left_out_ = content.size() - end_;
  if (!resume && content.size() > start.size()) {
    throw Error("an interrupted run has left '" + path_ + "'",
                fmt::format("{} results of it are there", found_at_start_),
                "add --resume to go on with it, or delete the file to begin anew");
  }
  if (ftruncate(file_.id(), off_t(end_)) != 0) fail("cannot write", path_, "check the file system");
}

Journal::~Journal() {
  if (payloads_.empty() && !finished_) unlink(path_.c_str());  // of a run that failed before it did anything
}

std::optional<std::span<const std::byte>> Journal::find(const Key& key) const {
  const auto found = payloads_.find(key);
  if (found == payloads_.end()) return std::nullopt;
  return std::span<const std::byte>(found->second);
}

std::optional<std::span<const std::byte>> Journal::find(const Key& key, std::size_t bytes) const {
  const auto payload = find(key);
  if (payload && payload->size() != bytes) {
    throw Error("a record of '" + path_ + "' cannot be used",
                fmt::format("it has {} bytes where this run records {}", payload->size(), bytes),
                "delete the file to begin anew");
  }
  return payload;
}

void Journal::append(const Key& key, std::span<const std::byte> payload) {
  if (payloads_.contains(key)) return;
  const RecordHeader header{key, payload.size(), checksum_of(key, payload)};
  std::vector<std::byte> record(sizeof header + payload.size());
  std::memcpy(record.data(), &header, sizeof header);
  std::copy(payload.begin(), payload.end(), record.begin() + sizeof header);
  write(record);
  payloads_.emplace(key, std::vector(payload.begin(), payload.end()));
  if (std::chrono::steady_clock::now() - synced_ > sync_interval) sync();
}

/// At the end of the last whole record.
void Journal::write(std::span<const std::byte> bytes) {
  if (!write_at(file_, bytes, end_)) {
    const int reason = errno;
    // if this fails as well, opening the file again drops the rest
    [[maybe_unused]] const int dropped = ftruncate(file_.id(), off_t(end_));
    errno = reason;
    fail("cannot write", path_, "free some space, then go on with --resume: what was done before is kept");
  }
  end_ += bytes.size();
}

void Journal::sync() {
  if (fdatasync(file_.id()) != 0) {
    fail("cannot write", path_, "free some space, then go on with --resume: what was done before is kept");
  }
  synced_ = std::chrono::steady_clock::now();
}

void Journal::finish() {
  if (unlink(path_.c_str()) != 0 && errno != ENOENT) {
    fail("cannot remove", path_, "remove it by hand: the results file is complete");
  }
  finished_ = true;
}

}  // namespace bitcluster
