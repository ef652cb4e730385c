#include "host/data/images.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "host/base/error.hpp"

namespace bitcluster {

Images::Images(std::string of_split, const Shape& of_images, std::vector<std::int32_t> of_labels,
               std::span<const std::uint8_t> of_pixels)
    : split(std::move(of_split)),
      shape(of_images),
      count(int(of_labels.size())),
      labels(std::move(of_labels)),
      pixels_(std::make_shared<Buffer>(of_pixels.size())) {
  std::copy(of_pixels.begin(), of_pixels.end(), place(0));
}

Images::Images(std::string of_split, const Shape& of_images, std::vector<std::int32_t> of_labels, ImageReader reader)
    : split(std::move(of_split)),
      shape(of_images),
      count(int(of_labels.size())),
      labels(std::move(of_labels)),
      pixels_(std::make_shared<Buffer>(count * shape.size())),
      reader_(std::move(reader)),
      order_(labels.size()),
      read_(labels.size()) {
  std::iota(order_.begin(), order_.end(), 0);
}

std::span<const std::uint8_t> Images::pixels(int first, int wanted) const {
  const int end = first + wanted;
  for (int image = first; reader_ && image < end;) {
    int next = image + 1;
    if (!read_[image]) {
      while (next < end && !read_[next] && order_[next] == order_[next - 1] + 1) ++next;
      reader_(order_[image], next - image, place(image));
      std::fill(read_.begin() + image, read_.begin() + next, true);
    }
    image = next;
  }
  return {place(first), wanted * shape.size()};
}

Images Images::part(std::string name, int first, int wanted) const {
  Images result;
  result.split = std::move(name);
  result.shape = shape;
  result.count = wanted;
  result.labels.assign(labels.begin() + first, labels.begin() + first + wanted);
  result.pixels_ = pixels_;
  result.offset_ = offset_ + std::size_t(first);
  result.reader_ = reader_;
  if (reader_) {
    result.order_.assign(order_.begin() + first, order_.begin() + first + wanted);
    result.read_.assign(static_cast<std::size_t>(wanted), false);
  }
  return result;
}

void Images::shuffle(std::uint64_t seed) {
  // Fisher and Yates; not std::shuffle, whose order the standard leaves open
  std::mt19937_64 random(seed);
  for (int i = count - 1; i > 0; --i) {
    const int other = int(random() % std::uint64_t(i + 1));  // its bias, below 2^-32, does not matter
    if (other == i) continue;
    std::swap(labels[i], labels[other]);
    if (reader_) {
      std::swap(order_[i], order_[other]);
    } else {
      std::swap_ranges(place(i), place(i + 1), place(other));
    }
  }
  read_.assign(read_.size(), false);
}

void check_fits(const std::string& split, const Shape& shape, std::span<const std::int32_t> labels,
                const Network& network) {
  const auto text = [](const Shape& of) { return fmt::format("{} x {} x {}", of.channels, of.height, of.width); };
  if (shape != network.input()) {
    throw Error(fmt::format("the images of split '{}' do not fit network '{}'", split, network.name),
                fmt::format("they are {} (channels x height x width), the network wants {}", text(shape),
                            text(network.input())),
                "give other images, or crop them to that size");
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0 || labels[i] >= network.classes()) {
      throw Error(
          fmt::format("the labels of split '{}' do not fit network '{}'", split, network.name),
          fmt::format("image {} has label {}, the network has {} classes (from 0)", i, labels[i], network.classes()),
          "give the data that the network was trained for");
    }
  }
}

std::vector<float> preprocess(const Images& images, const std::vector<float>& input_table, int first, int count) {
  const auto channels = std::size_t(images.shape.channels);
  if (input_table.size() != channels * 256) {
    throw Error("cannot preprocess the images",
                fmt::format("the input table has {} values for {} channels", input_table.size(), channels),
                "give 256 values per channel");
  }
  if (first < 0 || count < 0 || first > images.count - count) {
    throw Error(fmt::format("cannot preprocess images from {} on", first),
                fmt::format("there are only {} images", images.count), "ask for fewer");
  }
  const std::uint8_t* bytes = images.pixels(first, count).data();
  std::vector<float> values(std::size_t(count) * images.shape.size());
  for (std::size_t position = 0; position < values.size(); ++position) {
    values[position] = input_table[(position % channels) * 256 + bytes[position]];
  }
  return values;
}

}  // namespace bitcluster
