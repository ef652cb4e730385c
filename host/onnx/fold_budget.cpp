#include "host/onnx/fold_budget.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace bitcluster {
namespace {

/// Held at a time: the largest layer of the six ImageNet models, VGG-16's first fully connected one, has 102,760,448
/// weights (0.4 GB), and all its layers 0.55 GB. Of the bytes in the file: a formula has few intermediate results.
constexpr std::int64_t held_limit = std::int64_t(1) << 30;
constexpr std::int64_t held_per_byte = 4;

/// Read and written in all: a few seconds of one core. VGG-16's weights may be made and changed once. Of the bytes in
/// the file: quantizers have some 20 operators.
constexpr double spent_limit = 2147483648.0;  // 2^31
constexpr double spent_per_byte = 128;

}  // namespace

std::int64_t FoldBudget::size_of(const Constant& constant) {
  return std::int64_t(constant.size()) * (constant.is_float() ? 4 : 8);
}

void FoldBudget::read(const Constant& constant) { file_ += size_of(constant); }

void FoldBudget::hold(const std::string& name, const Constant& constant) {
  held_ += size_of(constant);
  sizes_[name] += size_of(constant);
}

void FoldBudget::release(const std::string& name) {
  const auto found = sizes_.find(name);
  if (found == sizes_.end()) return;
  held_ -= found->second;
  sizes_.erase(found);
}

void FoldBudget::spend(const Node& node, double bytes) {
  spent_ += bytes;
  const double limit = spent_limit + spent_per_byte * double(file_);
  if (spent_ > limit) {
    node.fail(fmt::format("what the model computes of its constants is too much for its size: more than {:.0f} MB are "
                          "read and written",
                          limit / 1e6),
              "compute these weights before the export");
  }
}

std::int64_t FoldBudget::available() const {
  return std::max<std::int64_t>(0, (held_limit + held_per_byte * file_ - held_) / 8);
}

}  // namespace bitcluster
