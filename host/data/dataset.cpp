#include "host/data/dataset.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "host/base/error.hpp"
#include "host/files/hdf5.hpp"
#include "host/files/toml.hpp"

namespace bitcluster {
namespace {

[[noreturn]] void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why,
              "check the file, or correct `files`, `first` and `count` of the split");
}

void require_file(const std::string& path) {
  if (!std::filesystem::is_regular_file(path)) reject_file(path, "there is no such file");
}

/// One part of a split: a file with images and labels, or a file with images and one with labels.
struct Source {
  std::string images, labels;
};

/// What a source holds, from its header or size alone.
struct Extent {
  std::int64_t count = 0;
  Shape shape;
};

/// Reads images [first, first + count) of one source as stored, (count, h, w, c), and their labels; a format that reads
/// anywhere takes null for what is not wanted.
using SourceReader =
    std::function<void(std::int64_t first, std::int64_t count, std::uint8_t* pixels, std::int32_t* labels)>;

// ---- CIFAR-10, binary version: per image one label byte, then the planes R, G, B of 32 x 32 bytes
// (https://www.cs.toronto.edu/~kriz/cifar.html)

constexpr Shape cifar_shape{3, 32, 32};
constexpr std::int64_t cifar_record = 1 + 3 * 32 * 32;

Extent measure_cifar10(const Source& source) {
  require_file(source.images);
  const auto size = std::int64_t(std::filesystem::file_size(source.images));
  if (size == 0 || size % cifar_record != 0) {
    reject_file(source.images, "its " + std::to_string(size) + " bytes are not a multiple of the " +
                                   std::to_string(cifar_record) +
                                   " of one CIFAR-10 record: it is truncated or not the binary version");
  }
  return {size / cifar_record, cifar_shape};
}

SourceReader open_cifar10(const Source& source) {
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

// ---- IDX: big-endian magic (0, 0, type, dimensions) and extents, then the bytes (LeCun, the MNIST database)

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
        reject_file(path, std::string("it does not start as an IDX file of ") +
                              (magic == idx_images_magic ? "images" : "labels") +
                              " does (files are given as images, then labels)");
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

Extent measure_idx(const Source& source) {
  const IdxFile images(source.images, idx_images_magic, 3);
  const IdxFile labels(source.labels, idx_labels_magic, 1);
  const auto& extents = images.extents();
  if (extents[0] != labels.extents()[0]) {
    reject_file(source.labels, "it has " + std::to_string(labels.extents()[0]) + " labels for the " +
                                   std::to_string(extents[0]) + " images of '" + source.images + "'");
  }
  if (std::min(extents[1], extents[2]) < 1 || std::max(extents[1], extents[2]) > largest_side) {
    reject_file(source.images,
                "its header gives images of " + std::to_string(extents[1]) + " x " + std::to_string(extents[2]));
  }
  return {extents[0], {1, int(extents[1]), int(extents[2])}};
}

SourceReader open_idx(const Source& source) {
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

// ---- Packed: HDF5 of analysis/pack_images.py: /images uint8 (n, h, w, c), /labels int32 (n)

/// One dataset of a packed file.
struct PackedDataset {
  std::string path, name;
  Hdf5Id dataset;
  std::vector<hsize_t> extents;

  PackedDataset(hid_t file, const std::string& file_path, const std::string& dataset_name, std::size_t dimensions)
      : path(file_path), name(dataset_name), dataset([&] {
          if (H5Lexists(file, dataset_name.c_str(), H5P_DEFAULT) <= 0) {
            reject_file(file_path,
                        "it has no dataset '" + dataset_name + "', so it was not made by analysis/pack_images.py");
          }
          return Hdf5Id(H5Dopen2(file, dataset_name.c_str(), H5P_DEFAULT), H5Dclose, what());
        }()) {
    const Hdf5Id space(H5Dget_space(dataset), H5Sclose, what());
    const Hdf5Id type(H5Dget_type(dataset), H5Tclose, what());
    if (H5Sget_simple_extent_ndims(space) != int(dimensions) || H5Tget_class(type) != H5T_INTEGER) {
      reject_file(
          path, "dataset '" + name + "' does not hold whole numbers in " + std::to_string(dimensions) + " dimensions");
    }
    extents.resize(dimensions);
    hdf5_check(H5Sget_simple_extent_dims(space, extents.data(), nullptr), what());
  }

  std::string what() const { return "cannot read dataset '" + name + "' of '" + path + "'"; }

  /// Reads [first, first + count) of the first dimension.
  void read(hid_t type, std::int64_t first, std::int64_t count, void* values) const {
    if (count == 0) return;
    std::vector<hsize_t> start(extents.size(), 0), size = extents;
    start[0] = hsize_t(first);
    size[0] = hsize_t(count);
    const Hdf5Id space(H5Dget_space(dataset), H5Sclose, what());
    hdf5_check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr), what());
    const Hdf5Id memory(H5Screate_simple(int(size.size()), size.data(), nullptr), H5Sclose, what());
    hdf5_check(H5Dread(dataset, type, memory, space, H5P_DEFAULT, values), what());
  }
};

Extent measure_packed(const Source& source) {
  require_file(source.images);
  const Hdf5Id file = open_hdf5(source.images);
  const PackedDataset images(file, source.images, "images", 4), labels(file, source.images, "labels", 1);
  const auto& extents = images.extents;
  if (extents[0] != labels.extents[0]) {
    reject_file(source.images, "it has " + std::to_string(labels.extents[0]) + " labels for " +
                                   std::to_string(extents[0]) + " images");
  }
  if (extents[3] != 1 && extents[3] != 3) {
    reject_file(source.images, "its images have " + std::to_string(extents[3]) + " channels instead of 1 or 3");
  }
  return {std::int64_t(extents[0]), {int(extents[3]), int(extents[1]), int(extents[2])}};
}

SourceReader open_packed(const Source& source) {
  struct Packed {
    Hdf5Id file;
    PackedDataset images, labels;
    explicit Packed(const std::string& path)
        : file(open_hdf5(path)), images(file, path, "images", 4), labels(file, path, "labels", 1) {}
  };
  return [packed = std::make_shared<const Packed>(source.images)](std::int64_t first, std::int64_t count,
                                                                  std::uint8_t* pixels, std::int32_t* labels) {
    if (pixels) packed->images.read(H5T_NATIVE_UINT8, first, count, pixels);
    if (labels) packed->labels.read(H5T_NATIVE_INT32, first, count, labels);
  };
}

/// A file format: how much a source holds, and how it is read.
struct Format {
  const char* name;
  bool labels_apart;  // files come as pairs: images, labels
  int channels;       // 0: the file says
  bool reads_anywhere;
  Extent (*measure)(const Source&);
  SourceReader (*open)(const Source&);
};

constexpr Format formats[] = {{"cifar10", false, 3, false, measure_cifar10, open_cifar10},
                              {"idx", true, 1, false, measure_idx, open_idx},
                              {"packed", false, 0, true, measure_packed, open_packed}};

struct Split {
  std::vector<Source> sources;  // one after the other
  std::int64_t first = 0;
  std::int64_t count = -1;  // -1: all the rest
};

/// Images [begin, end) of one file.
struct Range {
  std::string file;
  std::int64_t begin, end;
};

/// What a split covers of each of its files. Looks into the files only where several follow each other.
std::vector<Range> covered(const Split& split, const Format& format) {
  constexpr std::int64_t endless = std::numeric_limits<std::int64_t>::max();
  const std::int64_t end = split.count < 0 ? endless : split.first + split.count;
  std::vector<Range> ranges;
  std::int64_t offset = 0;
  for (const Source& source : split.sources) {
    const std::int64_t size = split.sources.size() == 1 ? endless : format.measure(source).count;
    const std::int64_t begin_here = std::clamp<std::int64_t>(split.first - offset, 0, size);
    const std::int64_t end_here = end == endless ? size : std::clamp<std::int64_t>(end - offset, 0, size);
    ranges.push_back({std::filesystem::weakly_canonical(source.images).string(), begin_here, end_here});
    offset += size;
  }
  return ranges;
}

bool share_a_file(const Split& a, const Split& b) {
  const auto canonical = [](const Source& source) { return std::filesystem::weakly_canonical(source.images); };
  return std::any_of(a.sources.begin(), a.sources.end(), [&](const Source& left) {
    return std::any_of(b.sources.begin(), b.sources.end(),
                       [&](const Source& right) { return canonical(left) == canonical(right); });
  });
}

bool share_images(const Split& a, const Split& b, const Format& format) {
  if (!share_a_file(a, b)) return false;
  for (const Range& left : covered(a, format)) {
    for (const Range& right : covered(b, format)) {
      if (left.file == right.file && std::max(left.begin, right.begin) < std::min(left.end, right.end)) return true;
    }
  }
  return false;
}

}  // namespace

struct Dataset::Description {
  std::string path;
  const Format* format = nullptr;
  double scale = 1;
  std::vector<double> mean, std;  // per channel, in the order of `channels`
  std::string channels;           // RGB, BGR, gray
  std::map<std::string, Split> splits;
};

Images::Images(std::string of_split, const Shape& of_images, std::vector<std::int32_t> of_labels,
               std::span<const std::uint8_t> of_pixels)
    : split(std::move(of_split)),
      shape(of_images),
      count(int(of_labels.size())),
      labels(std::move(of_labels)),
      pixels_(of_pixels.size()) {
  std::copy(of_pixels.begin(), of_pixels.end(), place(0));
}

Images::Images(std::string of_split, const Shape& of_images, std::vector<std::int32_t> of_labels, ImageReader reader)
    : split(std::move(of_split)),
      shape(of_images),
      count(int(of_labels.size())),
      labels(std::move(of_labels)),
      pixels_(count * shape.size()),
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

Dataset::Dataset(std::unique_ptr<Description> description) : description_(std::move(description)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;

Dataset Dataset::load(const std::string& path) {
  auto description = std::make_unique<Description>();
  Description& data = *description;
  data.path = path;
  TomlTable root = TomlTable::load(path);

  std::vector<std::string> names;
  for (const Format& format : formats) names.push_back(format.name);
  const std::string name = root.choice("format", names);
  data.format = &formats[std::find(names.begin(), names.end(), name) - names.begin()];

  constexpr double largest = std::numeric_limits<double>::max();
  TomlTable preprocess = root.table("preprocess");
  data.scale = preprocess.number("scale", -largest, largest);
  data.mean = preprocess.numbers("mean");
  data.std = preprocess.numbers("std");
  data.channels = preprocess.choice("channels", {"RGB", "BGR", "gray"});
  preprocess.finish();
  const int channels = data.channels == "gray" ? 1 : 3;
  if (data.format->channels != 0 && data.format->channels != channels) {
    preprocess.reject("channels",
                      name + " images have " + std::to_string(data.format->channels) + " channels, " + data.channels +
                          " has " + std::to_string(channels),
                      data.format->channels == 1 ? "use gray" : "use RGB or BGR");
  }
  const auto check_numbers = [&](const std::string& key, const std::vector<double>& values) {
    if (int(values.size()) != channels) {
      preprocess.reject(key, std::to_string(values.size()) + " numbers for " + std::to_string(channels) + " channels",
                        "give one number per channel, in the order that `channels` names");
    }
    if (!std::all_of(values.begin(), values.end(), [](double value) { return std::isfinite(value); })) {
      preprocess.reject(key, "a number is not finite", "give finite numbers");
    }
  };
  check_numbers("mean", data.mean);
  check_numbers("std", data.std);
  if (std::any_of(data.std.begin(), data.std.end(), [](double value) { return value <= 0; })) {
    preprocess.reject("std", "a standard deviation is not positive", "give positive numbers, 1 for no division");
  }

  constexpr std::int64_t most_images = std::numeric_limits<std::int32_t>::max();
  TomlTable splits = root.table("splits");
  for (const std::string& split_name : splits.keys()) {
    TomlTable table = splits.table(split_name);
    Split split;
    const std::vector<std::string> files = table.texts("files");
    const std::size_t step = data.format->labels_apart ? 2 : 1;
    if (files.empty() || files.size() % step != 0) {
      table.reject("files", std::to_string(files.size()) + " files are given",
                   step == 2 ? "give pairs: images, then labels" : "give at least one file");
    }
    for (std::size_t f = 0; f < files.size(); f += step) {
      split.sources.push_back({table.resolve(files[f]), table.resolve(files[f + step - 1])});
    }
    split.first = table.integer("first", 0, most_images, 0);
    if (table.has("count")) split.count = table.integer("count", 1, most_images);
    table.finish();
    data.splits.emplace(split_name, std::move(split));
  }
  splits.finish();
  root.finish();
  if (data.splits.empty()) root.reject("splits", "there is no split", "add at least [splits.test]");

  const auto test = data.splits.find("test");
  if (test != data.splits.end()) {
    for (const std::string other : {"search", "train"}) {
      const auto found = data.splits.find(other);
      if (found != data.splits.end() && share_images(found->second, test->second, *data.format)) {
        splits.reject(other, "it shares images with the test split, which must judge on images never seen before",
                      "change `files`, `first` or `count` so that the splits are apart");
      }
    }
  }
  return Dataset(std::move(description));
}

bool Dataset::overlap(const std::string& a, const std::string& b) const {
  const auto& splits = description_->splits;
  const auto left = splits.find(a), right = splits.find(b);
  return left != splits.end() && right != splits.end() &&
         share_images(left->second, right->second, *description_->format);
}

const std::string& Dataset::path() const { return description_->path; }

std::vector<std::string> Dataset::splits() const {
  std::vector<std::string> names;
  for (const auto& [name, split] : description_->splits) names.push_back(name);
  return names;
}

Images Dataset::read(const std::string& split_name, int limit) const {
  const Description& data = *description_;
  if (limit < 0) {
    throw Error("cannot read " + std::to_string(limit) + " images", "the number is negative", "give 0 for all of them");
  }
  const auto found = data.splits.find(split_name);
  if (found == data.splits.end()) {
    std::string list;
    for (const std::string& name : splits()) list += (list.empty() ? "" : ", ") + name;
    throw Error("cannot read split '" + split_name + "'", "'" + data.path + "' has no such split",
                "use one of: " + list);
  }
  const Split& split = found->second;

  std::vector<Extent> extents;
  std::int64_t total = 0;
  for (const Source& source : split.sources) {
    extents.push_back(data.format->measure(source));
    total += extents.back().count;
    if (extents.back().shape != extents.front().shape) {
      reject_file(source.images, "its images have another size than those of '" + split.sources[0].images + "'");
    }
  }
  std::int64_t count = split.count < 0 ? total - split.first : split.count;
  if (count < 1 || split.first + count > total) {
    throw Error("cannot read split '" + split_name + "' of '" + data.path + "'",
                "it goes from image " + std::to_string(split.first) +
                    (split.count < 0 ? "" : " to " + std::to_string(split.first + count - 1)) +
                    ", but there are only " + std::to_string(total) + " images in its files",
                "lower `first` or `count`");
  }
  if (limit > 0) count = std::min<std::int64_t>(count, limit);

  const Shape shape = extents.front().shape;
  const int channels = data.channels == "gray" ? 1 : 3;
  if (shape.channels != channels) {
    throw Error("cannot use '" + split.sources[0].images + "' as " + data.channels,
                "its images have " + std::to_string(shape.channels) + " channels",
                shape.channels == 1 ? "use channels = \"gray\"" : "use channels = \"RGB\" or \"BGR\"");
  }
  struct Part {
    std::int64_t first, count;  // of the source
    SourceReader read;
  };
  std::vector<Part> parts;
  std::int64_t skip = split.first, left = count;
  for (std::size_t s = 0; s < split.sources.size() && left > 0; ++s) {
    const std::int64_t here = std::min(left, std::max<std::int64_t>(extents[s].count - skip, 0));
    if (here > 0) parts.push_back({skip, here, data.format->open(split.sources[s])});
    skip = std::max<std::int64_t>(skip - extents[s].count, 0);
    left -= here;
  }
  /// Images [first, first + wanted) of the split.
  const auto read = [parts, size = shape.size(), reversed = data.channels == "BGR"](
                        std::int64_t first, std::int64_t wanted, std::uint8_t* pixels, std::int32_t* labels) {
    std::int64_t offset = 0;  // of the part
    for (const Part& part : parts) {
      const std::int64_t begin = std::clamp<std::int64_t>(first - offset, 0, part.count);
      const std::int64_t end = std::clamp<std::int64_t>(first + wanted - offset, 0, part.count);
      offset += part.count;
      if (begin == end) continue;
      part.read(part.first + begin, end - begin, pixels, labels);
      if (pixels && reversed) {
        for (std::size_t i = 0; i < std::size_t(end - begin) * size; i += 3) std::swap(pixels[i], pixels[i + 2]);
      }
      if (pixels) pixels += std::size_t(end - begin) * size;
      if (labels) labels += end - begin;
    }
  };
  std::vector<std::int32_t> labels(static_cast<std::size_t>(count));
  if (data.format->reads_anywhere) {
    read(0, count, nullptr, labels.data());
    return Images(split_name, shape, std::move(labels),
                  [read](int first, int wanted, std::uint8_t* pixels) { read(first, wanted, pixels, nullptr); });
  }
  std::vector<std::uint8_t> pixels(std::size_t(count) * shape.size());
  read(0, count, pixels.data(), labels.data());
  return Images(split_name, shape, std::move(labels), pixels);
}

bool Dataset::reads_anywhere() const { return description_->format->reads_anywhere; }

std::vector<float> Dataset::input_table() const {
  const Description& data = *description_;
  std::vector<float> table;
  for (std::size_t c = 0; c < data.mean.size(); ++c) {
    for (int byte = 0; byte < 256; ++byte) table.push_back(float((byte * data.scale - data.mean[c]) / data.std[c]));
  }
  return table;
}

void check_fits(const Images& images, const Network& network) {
  const auto text = [](const Shape& shape) {
    return std::to_string(shape.channels) + " x " + std::to_string(shape.height) + " x " + std::to_string(shape.width);
  };
  if (images.shape != network.input()) {
    throw Error(
        "the images of split '" + images.split + "' do not fit network '" + network.name + "'",
        "they are " + text(images.shape) + " (channels x height x width), the network wants " + text(network.input()),
        "give other images, or crop them to that size");
  }
  for (int i = 0; i < images.count; ++i) {
    const std::int32_t label = images.labels[std::size_t(i)];
    if (label < 0 || label >= network.classes()) {
      throw Error("the labels of split '" + images.split + "' do not fit network '" + network.name + "'",
                  "image " + std::to_string(i) + " has label " + std::to_string(label) + ", the network has " +
                      std::to_string(network.classes()) + " classes (from 0)",
                  "give the data that the network was trained for");
    }
  }
}

std::vector<float> preprocess(const Images& images, const std::vector<float>& input_table, int first, int count) {
  const auto channels = std::size_t(images.shape.channels);
  if (input_table.size() != channels * 256) {
    throw Error("cannot preprocess the images",
                "the input table has " + std::to_string(input_table.size()) + " values for " +
                    std::to_string(channels) + " channels",
                "give 256 values per channel");
  }
  if (first < 0 || count < 0 || first > images.count - count) {
    throw Error("cannot preprocess images from " + std::to_string(first) + " on",
                "there are only " + std::to_string(images.count) + " images", "ask for fewer");
  }
  const std::uint8_t* bytes = images.pixels(first, count).data();
  std::vector<float> values(std::size_t(count) * images.shape.size());
  for (std::size_t position = 0; position < values.size(); ++position) {
    values[position] = input_table[(position % channels) * 256 + bytes[position]];
  }
  return values;
}

}  // namespace bitcluster
