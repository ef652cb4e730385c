#pragma once

#include <memory>
#include <string>
#include <vector>

#include "host/data/images.hpp"

namespace bitcluster {

/// What a split holds, its pixels left aside.
struct SplitContents {
  Shape shape;                       //!< of every image
  std::vector<std::int32_t> labels;  //!< (images), none negative
  std::int64_t classes = 0;          //!< as its files count them; 0: they do not
};

/// A data description (DATA.toml; example: configs/data/fashion_mnist.toml), checked, files not yet read.
class Dataset {
 public:
  /// Error for an unreadable file, an unknown format, a misspelled key, a preprocessing that loses what the bytes say,
  /// or a split "search" or "train" that shares images with the split "test".
  static Dataset load(const std::string& path);

  const std::string& path() const;
  std::vector<std::string> splits() const;

  /// The files of a split, as they are opened, each once. Error if it does not exist.
  std::vector<std::string> files(const std::string& split) const;

  /// Whether two splits share images; false if one does not exist.
  bool overlap(const std::string& a, const std::string& b) const;

  /// All of a split but its pixels. Error as for read().
  SplitContents contents(const std::string& split) const;

  /// Reads one split, at most `limit` images of it (0: all); pixels only when they are asked for, if reads_anywhere().
  /// Error for a missing or truncated file, a split that does not exist, images beyond the end of the file, a negative
  /// label.
  Images read(const std::string& split, int limit = 0) const;

  /// Whether an image costs the same wherever it is in its file. False for formats of small images, in compressed files
  /// or mixed with the labels.
  bool reads_anywhere() const;

  /// Float value of every byte of every channel after preprocessing, (channels, 256).
  std::vector<float> input_table() const;

  ~Dataset();
  Dataset(Dataset&&) noexcept;
  Dataset& operator=(Dataset&&) noexcept;

 private:
  struct Description;
  struct OpenSplit;
  OpenSplit open(const std::string& split) const;
  explicit Dataset(std::unique_ptr<Description> description);
  std::unique_ptr<Description> description_;
};

}  // namespace bitcluster
