#include "harness/program/input_files.hpp"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <span>

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
  for (const std::string& file : external_files(path)) add("weights", file);
}

void InputFiles::add_data(const std::string& path, const std::set<std::string>& splits) {
  add("data", path);
  const Dataset data = Dataset::load(path);
  for (const std::string& split : splits) {
    for (const std::string& file : data.files(split)) add("images", file);
  }
}

std::vector<InputRow> InputFiles::rows(const Ranks& ranks) const {
  const long count = long(inputs_.size());
  std::vector<Key> checksums(inputs_.size());
  std::vector<int> starts;  // of every rank [byte]
  for (int rank = 0; rank <= ranks.size(); ++rank) starts.push_back(int(ranks.first_of(count, rank) * sizeof(Key)));
  ranks.on_all([&] {
    const long end = ranks.first_of(count, ranks.rank() + 1);
    for (long i = ranks.first_of(count, ranks.rank()); i < end; ++i) checksums[i] = hash_file(inputs_[i].path);
  });
  ranks.join(std::as_writable_bytes(std::span(checksums)), starts);
  std::vector<InputRow> rows;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    rows.push_back({inputs_[i].kind, inputs_[i].path, inputs_[i].state.bytes, to_hex(checksums[i])});
  }
  return rows;
}

void InputFiles::check_unchanged(const Ranks& ranks) const {
  ranks.on_root([&] {
    for (const Input& input : inputs_) {
      if (state_of(input.path) == input.state) continue;
      throw Error(fmt::format("the results would not belong to '{}'", input.path),
                  "it was changed or replaced while the command ran",
                  "start the command again; a study with --resume, which finds what is still valid");
    }
  });
}

}  // namespace bitcluster
