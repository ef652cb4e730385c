#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "host/onnx/constant.hpp"

namespace bitcluster {

/// Bounds what the import of a file may take, so that a small one cannot ask for gigabytes or minutes. What is in the
/// file raises the bounds.
class ImportBudget {
 public:
  /// path: of the file, for messages.
  ImportBudget(const std::string& path, std::int64_t file_bytes) : path_(path), file_bytes_(double(file_bytes)) {}

  /// Counts bytes of constants and moved elements that are read and written, or what takes as long. Error, naming the
  /// node, where it is too much.
  void spend(const std::string& node, double bytes);

  /// A computed constant that is in memory under this name until it is released.
  void hold(const std::string& name, const Constant& constant);
  void release(const std::string& name);
  /// Elements that the next constant may have, each of 8 bytes at most.
  std::int64_t available() const;

 private:
  std::string path_;
  double file_bytes_, spent_ = 0, held_ = 0;
  std::map<std::string, std::int64_t> sizes_;  // of what is held [byte]
};

}  // namespace bitcluster
