#include "host/data/dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <system_error>

#include "host/base/error.hpp"
#include "host/data/formats/format.hpp"
#include "host/files/posix_file.hpp"
#include "host/files/toml.hpp"

namespace bitcluster {
namespace {

constexpr const ImageFormat* formats[] = {&cifar10_format, &cifar100_format, &idx_format, &packed_format};
constexpr std::int64_t most_images = std::numeric_limits<std::int32_t>::max();  // what their numbers are kept in

struct Split {
  std::vector<ImageSource> sources;  // one after the other
  std::int64_t first = 0;
  std::int64_t count = -1;  // -1: all the rest
};

/// Images [begin, end) of one file.
struct FilePart {
  std::string file;
  std::int64_t begin, end;
};

/// A path by which the same file is known again; as it is given if that fails, of which reading it then tells.
std::string canonical(const std::string& path) {
  std::error_code failure;
  const std::filesystem::path found = std::filesystem::weakly_canonical(path, failure);
  return failure ? path : found.string();
}

/// What a split covers of each of its files. Looks into the files only where several follow each other.
std::vector<FilePart> covered(const Split& split, const ImageFormat& format) {
  constexpr std::int64_t endless = std::numeric_limits<std::int64_t>::max();
  const std::int64_t end = split.count < 0 ? endless : split.first + split.count;
  std::vector<FilePart> parts;
  std::int64_t offset = 0;
  for (const ImageSource& source : split.sources) {
    const std::int64_t size = split.sources.size() == 1 ? endless : format.measure(source).count;
    const std::int64_t begin_here = std::clamp<std::int64_t>(split.first - offset, 0, size);
    const std::int64_t end_here = end == endless ? size : std::clamp<std::int64_t>(end - offset, 0, size);
    parts.push_back({canonical(source.images), begin_here, end_here});
    offset += size;
  }
  return parts;
}

bool share_a_file(const Split& a, const Split& b) {
  return std::any_of(a.sources.begin(), a.sources.end(), [&](const ImageSource& left) {
    return std::any_of(b.sources.begin(), b.sources.end(),
                       [&](const ImageSource& right) { return canonical(left.images) == canonical(right.images); });
  });
}

bool share_images(const Split& a, const Split& b, const ImageFormat& format) {
  if (!share_a_file(a, b)) return false;
  for (const FilePart& left : covered(a, format)) {
    for (const FilePart& right : covered(b, format)) {
      if (left.file == right.file && std::max(left.begin, right.begin) < std::min(left.end, right.end)) return true;
    }
  }
  return false;
}

}  // namespace

struct Dataset::Description {
  std::string path;
  const ImageFormat* format = nullptr;
  double scale = 1;
  std::vector<double> mean, std;  // per channel, in the order of `channels`
  std::string channels;           // RGB, BGR, gray
  std::map<std::string, Split> splits;

  int channel_count() const { return channels == "gray" ? 1 : 3; }
  double value(std::size_t channel, int byte) const { return (byte * scale - mean[channel]) / std[channel]; }
  const Split& split(const std::string& name) const;
  void read_format(TomlTable& root);
  void read_preprocess(TomlTable table);
  void read_splits(TomlTable table);
};

void Dataset::Description::read_format(TomlTable& root) {
  std::vector<std::string> names;
  for (const ImageFormat* known : formats) names.push_back(known->name);
  const std::string name = root.choice("format", names);
  format = formats[std::find(names.begin(), names.end(), name) - names.begin()];
}

void Dataset::Description::read_preprocess(TomlTable table) {
  constexpr double largest = 1e6;  // of what a byte is multiplied by, a million times the usual
  scale = table.number("scale", -largest, largest);
  mean = table.numbers("mean");
  std = table.numbers("std");
  channels = table.choice("channels", {"RGB", "BGR", "gray"});
  table.finish();
  if (format->channels != 0 && format->channels != channel_count()) {
    table.reject(
        "channels",
        fmt::format("{} images have {} channels, {} has {}", format->name, format->channels, channels, channel_count()),
        format->channels == 1 ? "use gray" : "use RGB or BGR");
  }
  const auto check_numbers = [&](const std::string& key, const std::vector<double>& values) {
    if (int(values.size()) != channel_count()) {
      table.reject(key, fmt::format("{} numbers for {} channels", values.size(), channel_count()),
                   "give one number per channel, in the order that `channels` names");
    }
    if (!std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); })) {
      table.reject(key, "a number is not finite", "give finite numbers");
    }
  };
  check_numbers("mean", mean);
  check_numbers("std", std);
  if (std::any_of(std.begin(), std.end(), [](double value) { return value <= 0; })) {
    table.reject("std", "a standard deviation is not positive", "give positive numbers, 1 for no division");
  }
  for (std::size_t c = 0; c < mean.size(); ++c) {
    for (int byte = 0; byte < 255; ++byte) {
      const double here = value(c, byte), next = value(c, byte + 1);
      // of either sign; finite in float32, too
      if (std::max(std::abs(here), std::abs(next)) < std::numeric_limits<float>::max() && float(here) != float(next)) {
        continue;
      }
      table.reject(
          "scale",
          fmt::format("with it, mean {} and std {}, bytes {} and {} become {} and {}: pixels that differ are not "
                      "told apart",
                      mean[c], std[c], byte, byte + 1, float(here), float(next)),
          "give the numbers that the network was trained with; 1 / 255 = 0.00392156862745098 is usual for scale");
    }
  }
}

void Dataset::Description::read_splits(TomlTable table) {
  for (const std::string& name : table.keys()) {
    TomlTable of = table.table(name);
    Split split;
    const std::vector<std::string> files = of.texts("files");
    const std::size_t step = format->labels_apart ? 2 : 1;
    if (files.empty() || files.size() % step != 0) {
      of.reject("files", fmt::format("{} files are given", files.size()),
                step == 2 ? "give pairs: images, then labels" : "give at least one file");
    }
    for (std::size_t f = 0; f < files.size(); f += step) {
      split.sources.push_back({of.resolve(files[f]), of.resolve(files[f + step - 1])});
      remember_input(split.sources.back().images);
      remember_input(split.sources.back().labels);
    }
    split.first = of.integer("first", 0, most_images, 0);
    if (of.has("count")) split.count = of.integer("count", 1, most_images);
    of.finish();
    splits.emplace(name, std::move(split));
  }
  table.finish();
}

const Split& Dataset::Description::split(const std::string& name) const {
  const auto found = splits.find(name);
  if (found != splits.end()) return found->second;
  std::vector<std::string_view> names;
  for (const auto& [known, split] : splits) names.push_back(known);
  throw Error(fmt::format("cannot read split '{}'", name), fmt::format("'{}' has no such split", path),
              fmt::format("use one of: {}", fmt::join(names, ", ")));
}

Dataset::Dataset(std::unique_ptr<Description> description) : description_(std::move(description)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;

Dataset Dataset::load(const std::string& path) {
  auto description = std::make_unique<Description>();
  description->path = path;
  TomlTable root = TomlTable::load(path);
  description->read_format(root);
  description->read_preprocess(root.table("preprocess"));
  TomlTable splits = root.table("splits");
  description->read_splits(splits);
  root.finish();
  if (description->splits.empty()) root.reject("splits", "there is no split", "add at least [splits.test]");
  Dataset dataset(std::move(description));
  for (const std::string other : {"search", "train"}) {
    if (!dataset.overlap(other, "test")) continue;
    splits.reject(other, "it shares images with the test split, which must judge on images never seen before",
                  "change `files`, `first` or `count` so that the splits are apart");
  }
  return dataset;
}

bool Dataset::overlap(const std::string& a, const std::string& b) const {
  const auto& splits = description_->splits;
  const auto left = splits.find(a), right = splits.find(b);
  return left != splits.end() && right != splits.end() &&
         share_images(left->second, right->second, *description_->format);
}

std::vector<std::string> Dataset::files(const std::string& split) const {
  std::vector<std::string> names;
  for (const ImageSource& source : description_->split(split).sources) {
    for (const std::string& name : {source.images, source.labels}) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

const std::string& Dataset::path() const { return description_->path; }

std::vector<std::string> Dataset::splits() const {
  std::vector<std::string> names;
  for (const auto& [name, split] : description_->splits) names.push_back(name);
  return names;
}

namespace {

/// What the files of a split hold, one by one. Error if their images differ in size, or their classes in number.
std::vector<ImageContents> measure(const Split& split, const ImageFormat& format) {
  std::vector<ImageContents> contents;
  for (const ImageSource& source : split.sources) {
    contents.push_back(format.measure(source));
    if (contents.back().shape != contents.front().shape) {
      reject_file(source.images,
                  fmt::format("its images have another size than those of '{}'", split.sources[0].images));
    }
    if (contents.back().classes > 0 && contents.front().classes > 0 &&
        contents.back().classes != contents.front().classes) {
      reject_file(source.images, fmt::format("it has {} classes, and '{}' has {}", contents.back().classes,
                                             split.sources[0].images, contents.front().classes));
    }
  }
  return contents;
}

/// Reads the first `count` images of a split; null for what is not wanted.
class SplitReader {
 public:
  SplitReader(const Split& split, const std::vector<ImageContents>& contents, std::int64_t count,
              const ImageFormat& format, bool reversed)
      : size_(contents.front().shape.size()), reversed_(reversed) {
    std::int64_t skip = split.first, left = count;
    for (std::size_t s = 0; s < split.sources.size() && left > 0; ++s) {
      const std::int64_t here = std::min(left, std::max<std::int64_t>(contents[s].count - skip, 0));
      if (here > 0) parts_.push_back({skip, here, format.open(split.sources[s])});
      skip = std::max<std::int64_t>(skip - contents[s].count, 0);
      left -= here;
    }
  }

  /// Images [first, first + wanted) of the split.
  void operator()(std::int64_t first, std::int64_t wanted, std::uint8_t* pixels, std::int32_t* labels) const {
    std::int64_t offset = 0;  // of the part
    for (const Part& part : parts_) {
      const std::int64_t begin = std::clamp<std::int64_t>(first - offset, 0, part.count);
      const std::int64_t end = std::clamp<std::int64_t>(first + wanted - offset, 0, part.count);
      offset += part.count;
      if (begin == end) continue;
      part.read(part.first + begin, end - begin, pixels, labels);
      if (pixels && reversed_) {
        for (std::size_t i = 0; i < std::size_t(end - begin) * size_; i += 3) std::swap(pixels[i], pixels[i + 2]);
      }
      if (pixels) pixels += std::size_t(end - begin) * size_;
      if (labels) labels += end - begin;
    }
  }

 private:
  struct Part {
    std::int64_t first, count;  // of the source
    SourceReader read;
  };
  std::vector<Part> parts_;
  std::size_t size_;  // of an image [byte]
  bool reversed_;     // channels
};

}  // namespace

/// A split with what its files hold, checked.
struct Dataset::OpenSplit {
  const Split& split;
  std::vector<ImageContents> contents;
  Shape shape;
  int count = 0;
};

Dataset::OpenSplit Dataset::open(const std::string& name) const {
  const Description& data = *description_;
  const Split& split = data.split(name);
  OpenSplit open{split, measure(split, *data.format), {}, 0};
  std::int64_t total = 0;
  for (const ImageContents& of_source : open.contents) total += of_source.count;
  const std::int64_t count = split.count < 0 ? total - split.first : split.count;
  if (count < 1 || split.first + count > total) {
    const std::string to = split.count < 0 ? "" : fmt::format(" to {}", split.first + count - 1);
    throw Error(
        fmt::format("cannot read split '{}' of '{}'", name, data.path),
        fmt::format("it goes from image {}{}, but there are only {} images in its files", split.first, to, total),
        "lower `first` or `count`");
  }
  if (count > most_images) {
    throw Error(fmt::format("cannot read split '{}' of '{}'", name, data.path),
                fmt::format("it has {} images, and at most {} can be used", count, most_images), "set `count`");
  }
  open.count = int(count);
  open.shape = open.contents.front().shape;
  if (open.shape.channels != data.channel_count()) {
    throw Error(fmt::format("cannot use '{}' as {}", split.sources[0].images, data.channels),
                fmt::format("its images have {} channels", open.shape.channels),
                open.shape.channels == 1 ? "use channels = \"gray\"" : "use channels = \"RGB\" or \"BGR\"");
  }
  return open;
}

SplitContents Dataset::contents(const std::string& split_name) const {
  const OpenSplit open = this->open(split_name);
  SplitContents contents{open.shape, std::vector<std::int32_t>(std::size_t(open.count)), open.contents[0].classes};
  const SplitReader read(open.split, open.contents, open.count, *description_->format, false);
  read(0, open.count, nullptr, contents.labels.data());
  return contents;
}

Images Dataset::read(const std::string& split_name, int limit) const {
  const Description& data = *description_;
  if (limit < 0) {
    throw Error(fmt::format("cannot read {} images", limit), "the number is negative", "give 0 for all of them");
  }
  const OpenSplit open = this->open(split_name);
  const int count = limit > 0 ? std::min(open.count, limit) : open.count;
  const SplitReader read(open.split, open.contents, count, *data.format, data.channels == "BGR");
  std::vector<std::int32_t> labels(static_cast<std::size_t>(count));
  if (data.format->reads_anywhere) {
    read(0, count, nullptr, labels.data());
    return Images(split_name, open.shape, std::move(labels),
                  [read](int first, int wanted, std::uint8_t* pixels) { read(first, wanted, pixels, nullptr); });
  }
  std::vector<std::uint8_t> pixels(std::size_t(count) * open.shape.size());
  read(0, count, pixels.data(), labels.data());
  return Images(split_name, open.shape, std::move(labels), pixels);
}

bool Dataset::reads_anywhere() const { return description_->format->reads_anywhere; }

std::vector<float> Dataset::input_table() const {
  const Description& data = *description_;
  std::vector<float> table;
  for (std::size_t c = 0; c < data.mean.size(); ++c) {
    for (int byte = 0; byte < 256; ++byte) table.push_back(float(data.value(c, byte)));
  }
  return table;
}

}  // namespace bitcluster
