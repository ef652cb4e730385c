#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "host/data/dataset.hpp"
#include "host/files/hdf5.hpp"

namespace bitcluster {

using Bytes = std::vector<std::uint8_t>;

inline constexpr const char* rgb = "[preprocess]\nscale = 0.5\nmean = [1, 2, 3]\nstd = [1, 2, 4]\nchannels = 'RGB'\n";
inline constexpr const char* bgr = "[preprocess]\nscale = 0.5\nmean = [1, 2, 3]\nstd = [1, 2, 4]\nchannels = 'BGR'\n";
inline constexpr const char* gray = "[preprocess]\nscale = 1\nmean = [0]\nstd = [1]\nchannels = 'gray'\n";

/// A fresh folder per test.
class DatasetFiles : public testing::Test {
 protected:
  DatasetFiles()
      : folder_(std::filesystem::path(testing::TempDir()) /
                (std::string("dataset_") + testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~DatasetFiles() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  void write(const std::string& name, const Bytes& bytes) const {
    std::ofstream(path(name), std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
  }

  void write_compressed(const std::string& name, const Bytes& bytes) const {
    gzFile file = gzopen(path(name).c_str(), "wb");
    gzwrite(file, bytes.data(), unsigned(bytes.size()));
    gzclose(file);
  }

  Dataset load(const std::string& toml) const {
    std::ofstream(path("data.toml")) << toml;
    return Dataset::load(path("data.toml"));
  }

  std::filesystem::path folder_;
};

/// An IDX file of images, (count, height, width), one of labels, count down to 1.
inline Bytes idx_images(int count, int height, int width) {
  Bytes bytes{0, 0, 8, 3, 0, 0, 0, std::uint8_t(count), 0, 0, 0, std::uint8_t(height), 0, 0, 0, std::uint8_t(width)};
  for (int i = 0; i < count * height * width; ++i) bytes.push_back(std::uint8_t(i * 7));
  return bytes;
}

inline Bytes idx_labels(int count) {
  Bytes bytes{0, 0, 8, 1, 0, 0, 0, std::uint8_t(count)};
  for (int i = 0; i < count; ++i) bytes.push_back(std::uint8_t(count - i));
  return bytes;
}

/// Chunks of one image with a checksum, as the packing script writes them.
inline void write_packed(const std::string& path, const Bytes& pixels, std::vector<hsize_t> extents,
                         const std::vector<std::int32_t>& labels) {
  const Hdf5Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, "");
  const auto put = [&](const char* name, hid_t type, std::vector<hsize_t> size, const void* values) {
    const Hdf5Id space(H5Screate_simple(int(size.size()), size.data(), nullptr), H5Sclose, "");
    const Hdf5Id chunks(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
    std::vector<hsize_t> chunk = size;
    chunk[0] = 1;
    hdf5_check(H5Pset_chunk(chunks, int(chunk.size()), chunk.data()), "");
    hdf5_check(H5Pset_fletcher32(chunks), "");
    const Hdf5Id dataset(H5Dcreate2(file, name, type, space, H5P_DEFAULT, chunks, H5P_DEFAULT), H5Dclose, "");
    hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), "");
  };
  put("images", H5T_NATIVE_UINT8, extents, pixels.data());
  put("labels", H5T_NATIVE_INT32, {labels.size()}, labels.data());
}

}  // namespace bitcluster
