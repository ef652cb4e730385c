#include "host/onnx/import_budget.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "host/base/error.hpp"

namespace bitcluster {
namespace {

constexpr double mebibyte = 1 << 20;

/// Read and written in all: the 411 MB of VGG-16's largest layer, filled in by ConstantOfShape and scaled, are 1.2 GB.
/// Of every byte in the file: ten operators on an int8 weight are about 100 bytes.
constexpr double spent_limit = 1536 * mebibyte, spent_per_byte = 128;

/// Held at a time: all weights of VGG-16 have 0.55 GB. Of every byte in the file: an int8 weight is held as 8 bytes.
constexpr double held_limit = 1024 * mebibyte, held_per_byte = 8;

}  // namespace

void ImportBudget::spend(const std::string& node, double bytes) {
  spent_ += bytes;
  const double limit = spent_limit + spent_per_byte * file_bytes_;
  if (spent_ <= limit) return;
  throw Error(fmt::format("cannot import '{}'", path_),
              fmt::format("up to node '{}' it computes more than {:.0f} MiB of constants and moved elements, which is "
                          "the most for a file of its size",
                          node, limit / mebibyte),
              "fold its constants and movements before or while it is exported");
}

void ImportBudget::hold(const std::string& name, const Constant& constant) {
  held_ += double(constant.bytes());
  sizes_[name] += constant.bytes();
}

void ImportBudget::release(const std::string& name) {
  const auto found = sizes_.find(name);
  if (found == sizes_.end()) return;
  held_ -= double(found->second);
  sizes_.erase(found);
}

std::int64_t ImportBudget::available() const {
  return std::int64_t(std::max(0.0, held_limit + held_per_byte * file_bytes_ - held_) / sizeof(std::int64_t));
}

}  // namespace bitcluster
