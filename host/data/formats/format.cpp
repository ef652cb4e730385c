#include "host/data/formats/format.hpp"

#include <filesystem>

#include "host/base/error.hpp"

namespace bitcluster {

void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why,
              "check the file, or correct `files`, `first` and `count` of the split");
}

void require_file(const std::string& path) {
  if (!std::filesystem::is_regular_file(path)) reject_file(path, "there is no such file");
}

}  // namespace bitcluster
