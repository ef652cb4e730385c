#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "host/onnx/constant.hpp"

namespace bitcluster {

/// Bounds what folding may make of a file, so that a small one cannot ask for gigabytes or minutes.
class FoldBudget {
 public:
  /// Weights that come from the file raise the bounds.
  void read(const Constant& constant) { file_ += bytes(constant); }
  void make(const std::string& name, const Constant& constant) {
    const std::int64_t size = bytes(constant);
    held_ += size;
    made_ += size;
    sizes_[name] += size;
  }
  /// What has been made under this name is no longer held.
  void release(const std::string& name) {
    const auto found = sizes_.find(name);
    if (found == sizes_.end()) return;
    held_ -= found->second;
    sizes_.erase(found);
  }

  /// Elements that the next result may have, each of 8 bytes at most.
  std::int64_t available() const {
    return std::max<std::int64_t>(0, std::min(held_limit + 4 * file_ - held_, made_limit + 64 * file_ - made_) / 8);
  }

 private:
  /// Held at a time: the largest layer of the six ImageNet models, VGG-16's first fully connected one, has 102,760,448
  /// weights (0.4 GB), and all its layers 0.55 GB. Weights in the file: a formula has few intermediate results.
  static constexpr std::int64_t held_limit = std::int64_t(1) << 30;
  /// In all, one after the other: a few seconds of work. Weights in the file: quantizers have some 20 operators.
  static constexpr std::int64_t made_limit = std::int64_t(1) << 31;

  static std::int64_t bytes(const Constant& constant) {
    return std::int64_t(constant.size()) * (constant.is_float() ? 4 : 8);
  }

  std::int64_t file_ = 0, held_ = 0, made_ = 0;
  std::map<std::string, std::int64_t> sizes_;
};

}  // namespace bitcluster
