#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "host/data/formats/format.hpp"

namespace bitcluster {
namespace {

// CIFAR-10, binary version: per image one label byte, then the planes R, G, B of 32 x 32 bytes
// (https://www.cs.toronto.edu/~kriz/cifar.html)

constexpr Shape cifar_shape{3, 32, 32};
constexpr std::int64_t cifar_record = 1 + 3 * 32 * 32;

ImageContents measure_cifar10(const ImageSource& source) {
  require_file(source.images);
  const auto size = std::int64_t(std::filesystem::file_size(source.images));
  if (size == 0 || size % cifar_record != 0) {
    reject_file(source.images, fmt::format("its {} bytes are not a multiple of the {} of one CIFAR-10 record: it is "
                                           "truncated or not the binary version",
                                           size, cifar_record));
  }
  return {size / cifar_record, cifar_shape};
}

SourceReader open_cifar10(const ImageSource& source) {
  return [source](std::int64_t first, std::int64_t count, std::uint8_t* pixels, std::int32_t* labels) {
    std::ifstream file(source.images, std::ios::binary);
    file.seekg(first * cifar_record);
    std::array<char, cifar_record> record;
    const std::size_t plane = std::size_t(cifar_shape.height) * cifar_shape.width;
    for (std::int64_t i = 0; i < count; ++i) {
      if (!file.read(record.data(), cifar_record)) reject_file(source.images, "reading it fails");
      *labels++ = std::uint8_t(record[0]);
      for (std::size_t position = 0; position < plane; ++position) {
        for (std::size_t c = 0; c < 3; ++c) *pixels++ = std::uint8_t(record[1 + c * plane + position]);
      }
    }
  };
}

}  // namespace

constinit const ImageFormat cifar10_format = {.name = "cifar10",
                                              .labels_apart = false,
                                              .channels = 3,
                                              .reads_anywhere = false,
                                              .measure = measure_cifar10,
                                              .open = open_cifar10};

}  // namespace bitcluster
