#pragma once

#include <filesystem>
#include <random>
#include <string>
#include <vector>

namespace bitcluster::fuzz {

/// A kind of input that anybody may hand to the program.
struct Target {
  const char* name;
  /// Small valid inputs to begin with; they may use the folder.
  std::vector<std::string> (*seeds)(const std::filesystem::path& folder);
  /// Reads an input as the program does, files in a folder of its own. An Error is the right answer to a bad one, any
  /// other exception is a fault.
  void (*run)(const std::string& input, const std::filesystem::path& folder);
  /// Changes an input within its structure; an empty text: it has none. Null: inputs are changed byte by byte alone.
  std::string (*mutate)(const std::string& input, std::mt19937& random) = nullptr;
};

extern const Target onnx_model, config, accelerator, technology, data, idx_images, idx_labels, cifar10, packed, trace,
    results, journal;

void write_file(const std::filesystem::path& path, const std::string& bytes);
std::string read_file(const std::filesystem::path& path);

}  // namespace bitcluster::fuzz
