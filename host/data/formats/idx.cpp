#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <vector>

#include "host/data/formats/format.hpp"

namespace bitcluster {
namespace {

// IDX: big-endian magic (0, 0, type, dimensions) and extents, then the bytes (LeCun, the MNIST database)

constexpr std::uint32_t idx_images_magic = 0x00000803, idx_labels_magic = 0x00000801;

/// An IDX file of bytes, compressed or plain, read from front to back.
class IdxFile {
 public:
  IdxFile(const std::string& path, std::uint32_t magic, int dimensions) : path_(path) {
    require_file(path);
    file_ = gzopen(path.c_str(), "rb");
    if (!file_) reject_file(path, "it cannot be opened");
    try {
      if (read_number() != magic) {
        reject_file(path, fmt::format("it does not start as an IDX file of {} does (files are given as images, then "
                                      "labels)",
                                      magic == idx_images_magic ? "images" : "labels"));
      }
      for (int d = 0; d < dimensions; ++d) extents_.push_back(read_number());
    } catch (...) {
      gzclose(file_);
      throw;
    }
  }
  IdxFile(const IdxFile&) = delete;
  IdxFile& operator=(const IdxFile&) = delete;
  ~IdxFile() { gzclose(file_); }

  const std::vector<std::int64_t>& extents() const { return extents_; }

  void skip(std::int64_t bytes) {
    if (gzseek(file_, z_off_t(bytes), SEEK_CUR) < 0) reject_file(path_, "it is truncated");
  }

  void read(std::uint8_t* bytes, std::size_t size) {
    constexpr std::size_t largest = std::size_t(1) << 30;  // gzread counts in unsigned int
    while (size > 0) {
      const auto part = unsigned(std::min(size, largest));
      if (gzread(file_, bytes, part) != int(part)) reject_file(path_, "it is truncated or damaged");
      bytes += part;
      size -= part;
    }
  }

 private:
  std::uint32_t read_number() {
    std::uint8_t bytes[4];
    read(bytes, 4);
    return std::uint32_t(bytes[0]) << 24 | std::uint32_t(bytes[1]) << 16 | std::uint32_t(bytes[2]) << 8 | bytes[3];
  }

  std::string path_;
  gzFile file_ = nullptr;
  std::vector<std::int64_t> extents_;
};

constexpr std::int64_t largest_side = 65536;  // no image is larger; a damaged header is

ImageContents measure_idx(const ImageSource& source) {
  const IdxFile images(source.images, idx_images_magic, 3);
  const IdxFile labels(source.labels, idx_labels_magic, 1);
  const auto& extents = images.extents();
  if (extents[0] != labels.extents()[0]) {
    reject_file(source.labels, fmt::format("it has {} labels for the {} images of '{}'", labels.extents()[0],
                                           extents[0], source.images));
  }
  if (std::min(extents[1], extents[2]) < 1 || std::max(extents[1], extents[2]) > largest_side) {
    reject_file(source.images, fmt::format("its header gives images of {} x {}", extents[1], extents[2]));
  }
  return {extents[0], {1, int(extents[1]), int(extents[2])}};
}

SourceReader open_idx(const ImageSource& source) {
  const std::size_t size = measure_idx(source).shape.size();
  return [source, size](std::int64_t first, std::int64_t count, std::uint8_t* pixels, std::int32_t* labels) {
    IdxFile images(source.images, idx_images_magic, 3);
    images.skip(first * std::int64_t(size));
    images.read(pixels, std::size_t(count) * size);
    IdxFile label_file(source.labels, idx_labels_magic, 1);
    label_file.skip(first);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
    label_file.read(bytes.data(), bytes.size());
    std::copy(bytes.begin(), bytes.end(), labels);
  };
}

}  // namespace

constinit const ImageFormat idx_format = {.name = "idx",
                                          .labels_apart = true,
                                          .channels = 1,
                                          .reads_anywhere = false,
                                          .measure = measure_idx,
                                          .open = open_idx};

}  // namespace bitcluster
