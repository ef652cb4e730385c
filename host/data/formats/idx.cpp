#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <map>
#include <vector>

#include "host/data/formats/format.hpp"

namespace bitcluster {
namespace {

// IDX: big-endian magic (0, 0, type, dimensions) and extents, then the bytes (LeCun, the MNIST database)

/// What an IDX file is to hold, always in unsigned bytes.
struct IdxKind {
  const char* what;
  int dimensions;
  const char* axes;
};
constexpr IdxKind idx_images{"images", 3, "(images, rows, columns)"}, idx_labels{"labels", 1, "(images)"};

constexpr int unsigned_bytes = 0x08;
const std::map<int, const char*> idx_types = {
    {unsigned_bytes, "unsigned bytes"}, {0x09, "signed bytes"},  {0x0b, "16-bit integers"},
    {0x0c, "32-bit integers"},          {0x0d, "32-bit floats"}, {0x0e, "64-bit floats"}};

/// An IDX file of bytes, compressed or plain, read from front to back. It is large enough for what its header says.
class IdxFile {
 public:
  IdxFile(const std::string& path, const IdxKind& kind) : path_(path) {
    const std::int64_t stored = file_bytes(path);
    file_ = gzopen(path.c_str(), "rb");
    if (!file_) reject_file(path, "it cannot be opened");
    try {
      read_header(kind);
      check_size(stored);
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
  void read_header(const IdxKind& kind) {
    const std::uint32_t magic = read_number();
    const int type = int(magic >> 8), dimensions = int(magic & 0xff);
    const auto known = idx_types.find(type);
    if (known == idx_types.end()) reject_file(path_, "it does not start as an IDX file does");
    if (type != unsigned_bytes || dimensions != kind.dimensions) {
      reject_file(path_, fmt::format("it holds {} in {} dimension{}, but {} are unsigned bytes in {}: {} (files are "
                                     "given as images, then labels)",
                                     known->second, dimensions, dimensions == 1 ? "" : "s", kind.what, kind.dimensions,
                                     kind.axes));
    }
    for (int d = 0; d < dimensions; ++d) extents_.push_back(read_number());
    if (dimensions == 3 &&
        (std::min(extents_[1], extents_[2]) < 1 || std::max(extents_[1], extents_[2]) > largest_side)) {
      reject_file(path_, fmt::format("its header gives images of {} x {}, not of sides from 1 to {}", extents_[1],
                                     extents_[2], largest_side));
    }
  }

  /// stored: its size as it is, compressed or not [byte].
  void check_size(std::int64_t stored) {
    const bool is_plain = gzdirect(file_) != 0;
    const std::int64_t most = is_plain ? stored - gztell(file_) : largest_expansion * stored;
    const std::int64_t each = extents_.size() == 3 ? extents_[1] * extents_[2] : 1;
    if (extents_[0] > most / each) {
      reject_file(path_,
                  fmt::format("it is truncated or damaged: its header gives {} times {} bytes, and {} bytes hold "
                              "at most {}",
                              extents_[0], each, stored, most));
    }
    if (is_plain && extents_[0] * each < most) {
      reject_file(path_, fmt::format("its header gives {} times {} bytes, but there are {}", extents_[0], each, most));
    }
  }

  std::uint32_t read_number() {
    std::uint8_t bytes[4];
    read(bytes, 4);
    return std::uint32_t(bytes[0]) << 24 | std::uint32_t(bytes[1]) << 16 | std::uint32_t(bytes[2]) << 8 | bytes[3];
  }

  std::string path_;
  gzFile file_ = nullptr;
  std::vector<std::int64_t> extents_;
};

ImageContents measure_idx(const ImageSource& source) {
  const IdxFile images(source.images, idx_images);
  const IdxFile labels(source.labels, idx_labels);
  const auto& extents = images.extents();
  if (extents[0] != labels.extents()[0]) {
    reject_file(source.labels, fmt::format("it has {} labels for the {} images of '{}'", labels.extents()[0],
                                           extents[0], source.images));
  }
  return {extents[0], {1, int(extents[1]), int(extents[2])}};
}

SourceReader open_idx(const ImageSource& source) {
  const std::size_t size = measure_idx(source).shape.size();
  return [source, size](std::int64_t first, std::int64_t count, std::uint8_t* pixels, std::int32_t* labels) {
    if (pixels) {
      IdxFile images(source.images, idx_images);
      images.skip(first * std::int64_t(size));
      images.read(pixels, std::size_t(count) * size);
    }
    if (labels) {
      IdxFile label_file(source.labels, idx_labels);
      label_file.skip(first);
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
      label_file.read(bytes.data(), bytes.size());
      std::copy(bytes.begin(), bytes.end(), labels);
    }
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
