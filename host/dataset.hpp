#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/network.hpp"

namespace bitcluster {

/// Images of one split as bytes, (count, h, w, c), channels in the order that the DATA.toml's preprocess.channels
/// names.
struct Images {
  std::string split;
  Shape shape;
  int count = 0;
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;  //!< (count)

  const std::uint8_t* image(int index) const { return pixels.data() + index * shape.size(); }
};

/// A data description (DATA.toml; example: configs/data/fashion_mnist.toml), checked, files not yet read.
class Dataset {
 public:
  /// Error for an unreadable file, an unknown format, a misspelled key, or a split "search" or "train" that shares
  /// images with the split "test".
  static Dataset load(const std::string& path);

  const std::string& path() const;
  std::vector<std::string> splits() const;

  /// Whether two splits share images; false if one does not exist.
  bool overlap(const std::string& a, const std::string& b) const;

  /// Reads one split, at most `limit` images of it (0: all). Error for a missing or truncated file, a split that does
  /// not exist, images beyond the end of the file.
  Images read(const std::string& split, int limit = 0) const;

  /// Float value of every byte of every channel after preprocessing, (channels, 256).
  std::vector<float> input_table() const;

  ~Dataset();
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;

 private:
  struct Description;
  explicit Dataset(std::unique_ptr<Description> description);
  std::unique_ptr<Description> description_;
};

/// Error if the images do not have the network's input shape or a label is not below `classes`.
void check_fits(const Images& images, const Network& network);

/// Puts images into a random order that depends on the seed alone.
void shuffle(Images& images, std::uint64_t seed);

/// Applies an input table (channels, 256) to images: (count, h, w, c) floats.
std::vector<float> preprocess(const Images& images, const std::vector<float>& input_table, int first, int count);

}  // namespace bitcluster
