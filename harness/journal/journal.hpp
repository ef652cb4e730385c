#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/files/content_hash.hpp"
#include "host/files/posix_file.hpp"

namespace bitcluster {

/// Results of finished work on their way to a results file, "OUT.h5.journal": what an interrupted run did is found
/// again. Records are appended and never changed. Each has a checksum, so that one that a kill cut off is dropped when
/// the file is opened again, as is all that follows a damaged one. Killing processes loses no record; a machine that
/// goes down takes at most those of the last `sync_interval`, and everything before sync().
class Journal {
 public:
  static constexpr std::chrono::milliseconds sync_interval{500};

  /// Opens or, if there is none, makes the journal of a results file, and takes its lock. Nothing but a regular file is
  /// opened. `producer` names what wrote the records: the program's version and commit. Error if another process has
  /// it, if it was written by another producer, is no journal, or, unless `resume`, if it has records (of a run that
  /// was interrupted).
  Journal(const std::string& output, const std::string& producer, bool resume);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  static std::string path_of(const std::string& output) { return output + ".journal"; }

  /// The payload that was recorded under a key; valid as long as the journal.
  std::optional<std::span<const std::byte>> find(const Key& key) const;
  /// The same where the payload has to have so many bytes: Error otherwise.
  std::optional<std::span<const std::byte>> find(const Key& key, std::size_t bytes) const;
  std::size_t size() const { return payloads_.size(); }
  std::size_t found_at_start() const { return found_at_start_; }
  /// Bytes from the first record on that a kill cut off, or that is damaged: it and what follows is left out.
  std::size_t bytes_left_out() const { return bytes_left_out_; }

  /// Records a result; Error, with the system's reason, if it cannot be written, and then the file ends with the record
  /// before. A key that is there already keeps its payload.
  void append(const Key& key, std::span<const std::byte> payload);

  /// Returns when everything appended is on the disk.
  void sync();

  /// The results file is complete: removes the journal.
  void finish();

 private:
  bool open_locked(const std::string& output);
  void read(const std::string& producer, bool resume);
  void write(std::span<const std::byte> bytes);

  std::string path_;
  Descriptor file_;
  std::uint64_t end_ = 0;  //!< of the last whole record [byte]
  std::size_t found_at_start_ = 0, bytes_left_out_ = 0;
  bool finished_ = false;  //!< the name may be another run's by now
  std::map<Key, std::vector<std::byte>> payloads_;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};

}  // namespace bitcluster
