#include "host/data/formats/format.hpp"

#include "host/base/error.hpp"
#include "host/files/posix_file.hpp"

namespace bitcluster {

namespace {

constexpr const char* advice = "check the file, or correct `files`, `first` and `count` of the split";

}  // namespace

void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why, advice);
}

void require_file(const std::string& path) { check_input(path, advice); }

}  // namespace bitcluster
