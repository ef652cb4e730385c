#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "host/data/formats/format.hpp"
#include "host/files/hdf5.hpp"

namespace bitcluster {
namespace {

// Packed: HDF5 of analysis/pack_images.py: /images uint8 (n, h, w, c), /labels int32 (n), and /classes, their names

Hdf5Dataset open_dataset(hid_t file, const std::string& path, const std::string& name, std::size_t dimensions) {
  if (!has_member(file, name)) {
    reject_file(path, fmt::format("it has no dataset '{}', so it was not made by analysis/pack_images.py", name));
  }
  Hdf5Dataset dataset(file, name, fmt::format("cannot read dataset '{}' of '{}'", name, path));
  if (dataset.extents().size() != dimensions || dataset.type_class() != H5T_INTEGER) {
    reject_file(path, fmt::format("dataset '{}' does not hold whole numbers in {} dimension{}", name, dimensions,
                                  dimensions == 1 ? "" : "s"));
  }
  return dataset;
}

struct PackedFile {
  std::string path;
  Hdf5Id file;
  Hdf5Dataset images, labels;

  explicit PackedFile(const std::string& of_path)
      : path(of_path),
        file(open_hdf5(path)),
        images(open_dataset(file, path, "images", 4)),
        labels(open_dataset(file, path, "labels", 1)) {}

  std::int64_t classes() const {
    if (!has_member(file, "classes")) return 0;
    const Hdf5Dataset names(file, "classes", fmt::format("cannot read dataset 'classes' of '{}'", path));
    return names.extents().size() == 1 ? std::int64_t(names.extents()[0]) : 0;
  }

  void read_labels(std::int64_t first, std::int64_t count, std::int32_t* values) const {
    constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max(), most_at_once = 1 << 16;
    std::vector<std::int64_t> wide(static_cast<std::size_t>(std::min(count, most_at_once)));
    for (const std::int64_t end = first + count; first < end; first += most_at_once) {
      const std::int64_t here = std::min(end - first, most_at_once);
      labels.read(H5T_NATIVE_INT64, first, here, wide.data());
      for (std::int64_t i = 0; i < here; ++i) {
        if (wide[i] < 0 || wide[i] > largest) {
          reject_file(path,
                      fmt::format("image {} has label {}, and labels are from 0 to {}", first + i, wide[i], largest));
        }
        *values++ = std::int32_t(wide[i]);
      }
    }
  }
};

ImageContents measure_packed(const ImageSource& source) {
  file_bytes(source.images);  // its Errors are clearer than HDF5's
  const PackedFile packed(source.images);
  const std::vector<hsize_t>&extents = packed.images.extents(), &labels = packed.labels.extents();
  if (packed.images.value_bytes() != 1 || !packed.images.is_unsigned()) {
    reject_file(
        source.images,
        fmt::format("dataset 'images' holds {}{}-bit integers, and pixels are unsigned bytes from 0 to 255: write "
                    "it as uint8, scaled to that range",
                    packed.images.is_unsigned() ? "unsigned " : "", 8 * packed.images.value_bytes()));
  }
  if (extents[0] != labels[0]) {
    reject_file(source.images, fmt::format("it has {} labels for {} images", labels[0], extents[0]));
  }
  if (std::min(extents[1], extents[2]) < 1 || std::max(extents[1], extents[2]) > hsize_t(largest_side)) {
    reject_file(source.images,
                fmt::format("its images are {} x {}, not of sides from 1 to {}", extents[1], extents[2], largest_side));
  }
  if (extents[3] != 1 && extents[3] != 3) {
    reject_file(
        source.images,
        fmt::format("its images have {} channels instead of 1 or 3: (images, rows, columns, channels)", extents[3]));
  }
  return {std::int64_t(extents[0]), {int(extents[3]), int(extents[1]), int(extents[2])}, packed.classes()};
}

SourceReader open_packed(const ImageSource& source) {
  return [packed = std::make_shared<const PackedFile>(source.images)](std::int64_t first, std::int64_t count,
                                                                      std::uint8_t* pixels, std::int32_t* labels) {
    if (pixels) packed->images.read(H5T_NATIVE_UINT8, first, count, pixels);
    if (labels) packed->read_labels(first, count, labels);
  };
}

}  // namespace

constinit const ImageFormat packed_format = {.name = "packed",
                                             .labels_apart = false,
                                             .channels = 0,
                                             .reads_anywhere = true,
                                             .measure = measure_packed,
                                             .open = open_packed};

}  // namespace bitcluster
