#include "host/files/hdf5_chunks.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "host/files/hdf5.hpp"

namespace bitcluster {
namespace {

/// How large deflated bytes are when they are inflated; nothing if they are damaged, or larger than `most`.
std::optional<hsize_t> inflated_bytes(std::vector<std::uint8_t>& deflated, hsize_t size, hsize_t most) {
  z_stream stream{};
  stream.next_in = deflated.data();
  stream.avail_in = uInt(size);
  if (inflateInit(&stream) != Z_OK) return std::nullopt;
  std::array<std::uint8_t, 1 << 16> part;  // whatever the size, no more is needed at once
  int status = Z_OK;
  while (status == Z_OK && stream.total_out <= most) {
    stream.next_out = part.data();
    stream.avail_out = uInt(part.size());
    status = inflate(&stream, Z_NO_FLUSH);
  }
  const hsize_t inflated = stream.total_out;
  inflateEnd(&stream);
  return status == Z_STREAM_END ? std::optional(inflated) : std::nullopt;
}

class ChunkCheck {
 public:
  ChunkCheck(hid_t dataset, const std::string& what)
      : dataset_(dataset), what_(what), creation_(H5Dget_create_plist(dataset), H5Pclose, what) {
    is_chunked_ = H5Pget_layout(creation_) == H5D_CHUNKED;
    if (!is_chunked_) return;
    const Hdf5Id space(H5Dget_space(dataset), H5Sclose, what), type(H5Dget_type(dataset), H5Tclose, what);
    extents_.resize(std::size_t(hdf5_check(H5Sget_simple_extent_ndims(space), what)));
    hdf5_check(H5Sget_simple_extent_dims(space, extents_.data(), nullptr), what);
    chunk_.resize(extents_.size());
    hdf5_check(H5Pget_chunk(creation_, int(chunk_.size()), chunk_.data()), what);
    bytes_ = H5Tget_size(type);
    for (const hsize_t extent : chunk_) {
      // HDF5 has a whole chunk in memory; its own limit is four times as high
      constexpr hsize_t most_bytes = hsize_t(1) << 30;
      if (extent == 0 || extent > most_bytes / bytes_)
        reject(fmt::format("a chunk has more than {} bytes", most_bytes));
      bytes_ *= extent;
    }
    read_filters();
  }

  void check(hsize_t first, hsize_t count) const {
    if (!is_chunked_ || count == 0 || std::ranges::find(extents_, 0) != extents_.end()) return;
    std::vector<hsize_t> place(extents_.size(), 0);
    const hsize_t begin = first / chunk_[0] * chunk_[0];
    place[0] = begin;
    while (place[0] < first + count) {
      check_one(place);
      // the next one, the last dimension fastest
      for (std::size_t d = place.size(); d-- > 0;) {
        place[d] += chunk_[d];
        if (d == 0 || place[d] < extents_[d]) break;
        place[d] = 0;
      }
    }
  }

 private:
  [[noreturn]] void reject(const std::string& why) const {
    throw Error(what_, why, "write the file again, whole, uncompressed or with gzip");
  }

  void read_filters() {
    const int filters = hdf5_check(H5Pget_nfilters(creation_), what_);
    for (int filter = 0; filter < filters; ++filter) {
      unsigned flags = 0;
      std::size_t no_values = 0;
      filters_.push_back(H5Pget_filter2(creation_, unsigned(filter), &flags, &no_values, nullptr, 0, nullptr, nullptr));
      if (filters_.back() != H5Z_FILTER_FLETCHER32 && filters_.back() != H5Z_FILTER_SHUFFLE &&
          filters_.back() != H5Z_FILTER_DEFLATE) {
        reject(fmt::format("it is compressed by filter {} of HDF5", filters_.back()));
      }
    }
    if (std::ranges::count(filters_, H5Z_FILTER_DEFLATE) > 1) reject("it is compressed twice");
  }

  void check_one(const std::vector<hsize_t>& place) const {
    const std::string which = fmt::format("its chunk at ({})", fmt::join(place, ", "));
    hsize_t stored = 0;
    // of a chunk that was never written some versions of HDF5 give no bytes, others an error
    if (H5Dget_chunk_storage_size(dataset_, place.data(), &stored) < 0 || stored == 0) {
      reject(which + " is not there, as if it had never been written");
    }
    // no chunk grows by more than its checksums, or deflate's 5 bytes per 16 KiB and a few
    if (stored > bytes_ + bytes_ / 1024 + 1024) reject(which + " is damaged");
    hsize_t size = stored;
    for (std::size_t filter = filters_.size(); filter-- > 0;) {
      if (filters_[filter] == H5Z_FILTER_FLETCHER32) size -= std::min<hsize_t>(size, 4);
      if (filters_[filter] == H5Z_FILTER_DEFLATE) {
        std::vector<std::uint8_t> raw(stored);
        std::uint32_t skipped = 0;
        hdf5_check(H5Dread_chunk(dataset_, H5P_DEFAULT, place.data(), &skipped, raw.data()), what_);
        const std::optional<hsize_t> inflated = inflated_bytes(raw, size, bytes_ + 1024);
        if (skipped != 0 || !inflated) reject(which + " is damaged");
        size = *inflated;
      }
    }
    if (size != bytes_) reject(fmt::format("{} is damaged: it has {} bytes instead of {}", which, size, bytes_));
  }

  hid_t dataset_;
  const std::string& what_;
  Hdf5Id creation_;
  bool is_chunked_ = false;
  std::vector<hsize_t> extents_, chunk_;
  hsize_t bytes_ = 0;  // of a chunk
  std::vector<H5Z_filter_t> filters_;
};

}  // namespace

void check_chunks(hid_t dataset, std::int64_t first, std::int64_t count, const std::string& what_is_wrong) {
  ChunkCheck(dataset, what_is_wrong).check(hsize_t(first), hsize_t(count));
}

}  // namespace bitcluster
