#include "harness/program/input_files.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>

#include "harness/ranks/progress.hpp"
#include "host/base/error.hpp"
#include "host/data/accelerator_file.hpp"
#include "host/data/dataset.hpp"
#include "host/files/content_hash.hpp"
#include "host/onnx/import.hpp"

namespace bitcluster {

InputFiles::State InputFiles::state_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return {};  // whoever reads it says why it cannot be read
  const auto nanoseconds = [](const timespec& time) {
    return time.tv_sec * std::int64_t(1'000'000'000) + time.tv_nsec;
  };
  return {status.st_ino, status.st_size, nanoseconds(status.st_mtim), nanoseconds(status.st_ctim)};
}

void InputFiles::add(const std::string& kind, const std::string& path) {
  const bool known = std::ranges::any_of(inputs_, [&](const Input& input) { return input.path == path; });
  if (!known) inputs_.push_back({kind, path, state_of(path)});
}

void InputFiles::add_accelerator(const std::string& path) {
  add("accelerator", path);
  add("technology", technology_file(path));
}

void InputFiles::add_model(const std::string& path) {
  add("model", path);
  ranks_.on_root([&] {
    for (const std::string& file : external_files(path)) add("weights", file);
  });
}

void InputFiles::add_data(const std::string& path, const std::set<std::string>& splits) {
  add("data", path);
  const Dataset data = Dataset::load(path);
  for (const std::string& split : splits) {
    for (const std::string& file : data.files(split)) add("images", file);
  }
}

std::vector<InputRow> InputFiles::rows() const {
  std::vector<InputRow> rows;
  ranks_.on_root([&] {
    double bytes = 0, done = 0;
    for (const Input& input : inputs_) bytes += double(input.state.bytes);
    constexpr double many = 1 << 30;  // a second or more
    Progress progress(bytes >= many, "checksums of the inputs", bytes);
    for (const Input& input : inputs_) {
      const Key checksum = hash_file(input.path, [&](std::size_t read) { progress.update(done += double(read)); });
      rows.push_back({input.kind, input.path, input.state.bytes, to_hex(checksum)});
    }
  });
  return rows;
}

void InputFiles::check_unchanged() const {
  ranks_.on_root([&] {
    for (const Input& input : inputs_) {
      if (state_of(input.path) == input.state) continue;
      throw Error(fmt::format("the results would not belong to '{}'", input.path),
                  "it was changed or replaced while the command ran",
                  "start the command again; a study with --resume, which finds what is still valid");
    }
  });
}

}  // namespace bitcluster
