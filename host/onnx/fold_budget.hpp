#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "host/onnx/constant.hpp"
#include "host/onnx/node.hpp"

namespace bitcluster {

/// Bounds what folding may make of a file, so that a small one cannot ask for gigabytes or minutes.
class FoldBudget {
 public:
  /// Weights that come from the file raise the bounds.
  void read(const Constant& constant);
  /// A result that is held under this name until it is released.
  void hold(const std::string& name, const Constant& constant);
  void release(const std::string& name);

  /// Counts bytes that a node reads and writes, or what takes as long. Error, naming the node, where it is too much.
  void spend(const Node& node, double bytes);
  void spend(const Node& node, const Constant& constant) { spend(node, double(size_of(constant))); }

  /// Elements that the next result may have, each of 8 bytes at most.
  std::int64_t available() const;

 private:
  static std::int64_t size_of(const Constant& constant);

  std::int64_t file_ = 0, held_ = 0;  // bytes
  double spent_ = 0;
  std::map<std::string, std::int64_t> sizes_;
};

}  // namespace bitcluster
