#include "harness/ranks/shared_inputs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "host/base/error.hpp"
#include "host/files/content_hash.hpp"
#include "host/onnx/import.hpp"

namespace bitcluster {

template <class T>
void SharedInputs::share(std::vector<T>& values) const {
  std::size_t count = values.size();
  ranks_.broadcast(std::as_writable_bytes(std::span(&count, 1)));
  values.resize(count);
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(values));
  gpus_ ? gpus_->broadcast(bytes) : ranks_.broadcast(bytes);
}

Network SharedInputs::network(const std::string& path) const {
  std::vector<std::byte> file;
  ranks_.on_root([&] { file = read_onnx(path); });
  share(file);
  return import_onnx(std::move(file), path);
}

Images SharedInputs::read(const Dataset& data, const std::string& split, int limit) const {
  Images images;
  if (data.reads_anywhere()) {
    Key key{};
    ranks_.on_all([&] {
      images = data.read(split, limit);
      KeyBuilder builder;
      builder.add(std::span<const std::int32_t>(images.labels));
      for (const int image : {0, images.count / 2, images.count - 1}) builder.add(images.pixels(image, 1));
      key = builder.key();
    });
    const auto keys = ranks_.gather(fmt::format("{}", key[0])), hosts = ranks_.gather(ranks_.host());
    const auto other = std::ranges::find_if(keys, [&](const std::string& text) { return text != keys[0]; });
    if (other == keys.end()) return images;
    throw Error("cannot read split '" + split + "' of '" + data.path() + "'",
                hosts[0] + " and " + hosts[other - keys.begin()] + " have different files of that name",
                "put one file where all nodes see it");
  }
  ranks_.on_root([&] { images = data.read(split, limit); });
  Shape shape = images.shape;
  ranks_.broadcast(std::as_writable_bytes(std::span(&shape, 1)));
  std::vector<std::int32_t> labels = std::move(images.labels);
  share(labels);
  std::vector<std::uint8_t> pixels(labels.size() * shape.size());
  if (ranks_.root()) std::ranges::copy(images.pixels(0, images.count), pixels.begin());
  share(pixels);
  return Images(split, shape, std::move(labels), pixels);
}

std::shared_ptr<const Images> SharedInputs::images(const Dataset& data, const std::string& split, int limit,
                                                   const Network& network, std::optional<std::uint64_t> seed) const {
  std::weak_ptr<const Images>& known = read_[{data.path(), split, limit, seed}];
  std::shared_ptr<const Images> result = known.lock();
  if (!result) {
    Images images = read(data, split, limit);
    if (seed) images.shuffle(*seed);
    known = result = std::make_shared<const Images>(std::move(images));
  }
  check_fits(split, result->shape, result->labels, network);
  return result;
}

void SharedInputs::warn_once(const std::string& warning) const {
  if (warnings_.insert(warning).second) fmt::print(stderr, "bitcluster: warning: {}\n", warning);
}

void SharedInputs::check(const Dataset& data, const std::string& split, int asked, const Network& network) const {
  ranks_.on_root([&] {
    const std::pair key(data.path(), split);
    if (!contents_.contains(key)) contents_.emplace(key, data.contents(split));
    const SplitContents& contents = contents_.at(key);
    const std::size_t count = contents.labels.size();
    if (asked > 0 && std::size_t(asked) > count) {
      throw Error(fmt::format("cannot take {} images of split '{}' of '{}'", asked, split, data.path()),
                  fmt::format("it has {}", count), fmt::format("ask for at most {}, or for 0: all of them", count));
    }
    check_fits(split, contents.shape, contents.labels, network);
    const int classes = network.classes(), largest = *std::ranges::max_element(contents.labels);
    if (contents.classes > 0 && contents.classes != classes) {
      warn_once(
          fmt::format("network '{}' has {} classes, the data of '{}' has {}: accuracy is right only if both number "
                      "them alike",
                      network.name, classes, data.path(), contents.classes));
    }
    // that no image of so many has a label above the largest, if all classes were equally frequent
    constexpr double hardly = 1e-6;
    if (contents.classes == 0 && std::pow(double(largest + 1) / classes, double(count)) < hardly) {
      warn_once(
          fmt::format("network '{}' has {} classes, the {} labels of split '{}' of '{}' go up to {}: accuracy is "
                      "right only if both number the classes alike, from 0",
                      network.name, classes, count, split, data.path(), largest));
    }
  });
}

}  // namespace bitcluster
