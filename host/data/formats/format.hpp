#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "host/model/network.hpp"

namespace bitcluster {

/// One part of a split: a file with images and labels, or a file with images and one with labels.
struct ImageSource {
  std::string images, labels;
};

/// What a source holds, from its header or size alone.
struct ImageContents {
  std::int64_t count = 0;
  Shape shape;
};

/// Reads images [first, first + count) of one source as stored, (count, h, w, c), and their labels; a format that reads
/// anywhere takes null for what is not wanted.
using SourceReader =
    std::function<void(std::int64_t first, std::int64_t count, std::uint8_t* pixels, std::int32_t* labels)>;

/// A file format: how much a source holds, and how it is read. Both throw an Error that names the file.
struct ImageFormat {
  const char* name;     //!< in the data description
  bool labels_apart;    //!< files come as pairs: images, labels
  int channels;         //!< 0: the file says
  bool reads_anywhere;  //!< an image costs the same wherever it is
  ImageContents (*measure)(const ImageSource&);
  SourceReader (*open)(const ImageSource&);
};

extern const ImageFormat cifar10_format, idx_format, packed_format;

/// Error about a file that a split names.
[[noreturn]] void reject_file(const std::string& path, const std::string& why);
/// Error if it is not there, or no regular file.
void require_file(const std::string& path);

}  // namespace bitcluster
