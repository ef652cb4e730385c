#include <fmt/format.h>

#include <memory>

#include "host/data/formats/format.hpp"
#include "host/files/hdf5.hpp"

namespace bitcluster {
namespace {

// Packed: HDF5 of analysis/pack_images.py: /images uint8 (n, h, w, c), /labels int32 (n)

Hdf5Dataset open_dataset(hid_t file, const std::string& path, const std::string& name, std::size_t dimensions) {
  if (!has_member(file, name)) {
    reject_file(path, fmt::format("it has no dataset '{}', so it was not made by analysis/pack_images.py", name));
  }
  Hdf5Dataset dataset(file, name, fmt::format("cannot read dataset '{}' of '{}'", name, path));
  if (dataset.extents().size() != dimensions || dataset.type_class() != H5T_INTEGER) {
    reject_file(path, fmt::format("dataset '{}' does not hold whole numbers in {} dimensions", name, dimensions));
  }
  return dataset;
}

struct PackedFile {
  Hdf5Id file;
  Hdf5Dataset images, labels;

  explicit PackedFile(const std::string& path)
      : file(open_hdf5(path)),
        images(open_dataset(file, path, "images", 4)),
        labels(open_dataset(file, path, "labels", 1)) {}
};

ImageContents measure_packed(const ImageSource& source) {
  require_file(source.images);
  const PackedFile packed(source.images);
  const std::vector<hsize_t>&extents = packed.images.extents(), &labels = packed.labels.extents();
  if (extents[0] != labels[0]) {
    reject_file(source.images, fmt::format("it has {} labels for {} images", labels[0], extents[0]));
  }
  if (extents[3] != 1 && extents[3] != 3) {
    reject_file(source.images, fmt::format("its images have {} channels instead of 1 or 3", extents[3]));
  }
  return {std::int64_t(extents[0]), {int(extents[3]), int(extents[1]), int(extents[2])}};
}

SourceReader open_packed(const ImageSource& source) {
  return [packed = std::make_shared<const PackedFile>(source.images)](std::int64_t first, std::int64_t count,
                                                                      std::uint8_t* pixels, std::int32_t* labels) {
    if (pixels) packed->images.read(H5T_NATIVE_UINT8, first, count, pixels);
    if (labels) packed->labels.read(H5T_NATIVE_INT32, first, count, labels);
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
