#include "host/data/formats/format.hpp"

#include <filesystem>
#include <system_error>

#include "host/base/error.hpp"
#include "host/files/posix_file.hpp"

namespace bitcluster {

namespace {

constexpr const char* advice = "check the file, or correct `files`, `first` and `count` of the split";

}  // namespace

void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why, advice);
}

std::int64_t file_bytes(const std::string& path) {
  check_input(path, advice);
  std::error_code failure;
  const auto size = std::filesystem::file_size(path, failure);
  if (failure) reject_file(path, failure.message());
  return std::int64_t(size);
}

}  // namespace bitcluster
