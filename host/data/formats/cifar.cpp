#include <fmt/format.h>

#include <array>
#include <fstream>

#include "host/data/formats/format.hpp"

namespace bitcluster {
namespace {

// CIFAR-10 and CIFAR-100, binary version (https://www.cs.toronto.edu/~kriz/cifar.html): per image the label, in
// CIFAR-100 the coarse one of 20 and then the fine one of 100, then the planes R, G, B of 32 x 32 bytes

constexpr Shape cifar_shape{3, 32, 32};
constexpr std::int64_t cifar_pixels = 3 * 32 * 32;

struct Cifar {
  const char *title, *format;
  std::int64_t label_bytes;  //!< the last of them is the class
  std::int64_t classes;

  constexpr std::int64_t record() const { return label_bytes + cifar_pixels; }
};
constexpr Cifar cifar10{"CIFAR-10", "cifar10", 1, 10}, cifar100{"CIFAR-100", "cifar100", 2, 100};

/// What a file is that begins as no record can, by its first byte; empty if it may be one.
std::string other_kind(const std::string& path) {
  switch (std::ifstream(path, std::ios::binary).get()) {
    case 0x1f:  // RFC 1952
      return "it is compressed: unpack it (tar -xzf, gunzip) and name the .bin files in it";
    case 0x80:  // opcode PROTO of pickle, protocol 2 on
      return "it looks like the Python version (pickle): download the binary version";
    default:
      return "";
  }
}

template <const Cifar& kind, const Cifar& other>
ImageContents measure(const ImageSource& source) {
  const std::int64_t size = file_bytes(source.images);
  if (const std::string why = other_kind(source.images); !why.empty()) reject_file(source.images, why);
  if (size == 0 || size % kind.record() != 0) {
    const bool is_other = size > 0 && size % other.record() == 0;
    reject_file(source.images, fmt::format("its {} bytes are not a multiple of the {} of one {} record: it is {}", size,
                                           kind.record(), kind.title,
                                           is_other ? fmt::format("of {}, format = \"{}\"", other.title, other.format)
                                                    : "truncated or not the binary version"));
  }
  return {size / kind.record(), cifar_shape, kind.classes};
}

template <const Cifar& kind>
SourceReader open(const ImageSource& source) {
  return [source](std::int64_t first, std::int64_t count, std::uint8_t* pixels, std::int32_t* labels) {
    std::ifstream file(source.images, std::ios::binary);
    file.seekg(first * kind.record());
    std::array<char, kind.record()> record;
    constexpr std::size_t plane = std::size_t(cifar_shape.height) * cifar_shape.width;
    for (std::int64_t i = 0; i < count; ++i) {
      if (!file.read(record.data(), record.size())) reject_file(source.images, "reading it fails");
      const int label = std::uint8_t(record[kind.label_bytes - 1]);
      if (label >= kind.classes) {
        reject_file(source.images,
                    fmt::format("image {} has label {}, but {} has {} classes (from 0): it is damaged, or "
                                "not the binary version",
                                first + i, label, kind.title, kind.classes));
      }
      if (labels) *labels++ = label;
      for (std::size_t position = 0; pixels && position < plane; ++position) {
        for (std::size_t c = 0; c < 3; ++c) {
          *pixels++ = std::uint8_t(record[kind.label_bytes + c * plane + position]);
        }
      }
    }
  };
}

}  // namespace

constinit const ImageFormat cifar10_format = {.name = cifar10.format,
                                              .labels_apart = false,
                                              .channels = 3,
                                              .reads_anywhere = false,
                                              .measure = measure<cifar10, cifar100>,
                                              .open = open<cifar10>};

constinit const ImageFormat cifar100_format = {.name = cifar100.format,
                                               .labels_apart = false,
                                               .channels = 3,
                                               .reads_anywhere = false,
                                               .measure = measure<cifar100, cifar10>,
                                               .open = open<cifar100>};

}  // namespace bitcluster
