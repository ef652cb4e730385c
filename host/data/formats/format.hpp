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

/// What a source holds, from its header or size alone. The file is large enough to hold it.
struct ImageContents {
  std::int64_t count = 0;
  Shape shape;
  std::int64_t classes = 0;  //!< 0: the file does not say
};

/// Reads images [first, first + count) of one source as stored, (count, h, w, c), and their labels, none negative;
/// takes null for what is not wanted.
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

extern const ImageFormat cifar10_format, cifar100_format, idx_format, packed_format;

constexpr std::int64_t largest_side = 65536;  //!< no image is larger; a damaged header is

/// deflate makes at most so many bytes of one (zlib's documentation, "Maximum expansion factor"), so that a header
/// which promises more than that is known to be wrong before memory is asked for.
constexpr std::int64_t largest_expansion = 1032;

/// Error about a file that a split names.
[[noreturn]] void reject_file(const std::string& path, const std::string& why);

/// Size of a file [byte]. Error if it is not there, or no regular file.
std::int64_t file_bytes(const std::string& path);

}  // namespace bitcluster
