#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/base/buffer.hpp"
#include "host/model/network.hpp"

namespace bitcluster {

/// Reads images [first, first + count), (count, h, w, c).
using ImageReader = std::function<void(int first, int count, std::uint8_t* pixels)>;

/// Images of one split as bytes, (count, h, w, c), channels in the order that the DATA.toml's preprocess.channels
/// names.
class Images {
 public:
  std::string split;
  Shape shape;
  int count = 0;
  std::vector<std::int32_t> labels;  //!< (count)

  Images() = default;
  Images(std::string split, const Shape& shape, std::vector<std::int32_t> labels, std::span<const std::uint8_t> pixels);
  /// Every image is read when it is first asked for, so that a rank reads and holds what it works on.
  Images(std::string split, const Shape& shape, std::vector<std::int32_t> labels, ImageReader reader);

  /// Of images [first, first + count). From one thread at a time. Error for what cannot be read.
  std::span<const std::uint8_t> pixels(int first, int count) const;
  const std::uint8_t* image(int index) const { return pixels(index, 1).data(); }

  /// Images [first, first + count) as images of their own, named `name`. They share the pixels of these, which must not
  /// be shuffled afterwards.
  Images part(std::string name, int first, int count) const;

  /// Puts the images into a random order that depends on the seed alone.
  void shuffle(std::uint64_t seed);

 private:
  std::uint8_t* place(int index) const { return pixels_->as<std::uint8_t>() + (offset_ + index) * shape.size(); }

  std::shared_ptr<Buffer> pixels_;
  std::size_t offset_ = 0;          // images before the first one in pixels_
  ImageReader reader_;              // null: all images are there
  std::vector<int> order_;          // of every image: its place for the reader
  mutable std::vector<bool> read_;  // (count)
};

/// Error if the images of a split do not have the network's input shape, or a label is not below its number of classes.
void check_fits(const std::string& split, const Shape& shape, std::span<const std::int32_t> labels,
                const Network& network);

/// Applies an input table (channels, 256) to images: (count, h, w, c) floats.
std::vector<float> preprocess(const Images& images, const std::vector<float>& input_table, int first, int count);

}  // namespace bitcluster
