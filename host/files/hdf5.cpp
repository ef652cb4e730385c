#include "host/files/hdf5.hpp"

#include <algorithm>
#include <cstring>

namespace bitcluster {

std::string hdf5_reason() {
  std::string reason;
  const auto keep_innermost = [](unsigned depth, const H5E_error2_t* entry, void* text) -> herr_t {
    if (depth == 0 && entry->desc) *static_cast<std::string*>(text) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &reason);
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

void silence_hdf5() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

Hdf5Id open_hdf5(const std::string& path) {
  silence_hdf5();
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "cannot prepare to read '" + path + "'");
  hdf5_check(H5Pset_file_locking(access, false, true), "cannot prepare to read '" + path + "'");
  return Hdf5Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose, "cannot read '" + path + "'");
}

namespace {

/// Variable length: an attribute of fixed length ends at 64 KiB, which a configuration may pass.
Hdf5Id variable_text_type(H5T_cset_t characters, const std::string& what_is_wrong) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, what_is_wrong);
  hdf5_check(H5Tset_size(type, H5T_VARIABLE), what_is_wrong);
  hdf5_check(H5Tset_cset(type, characters), what_is_wrong);
  return type;
}

}  // namespace

// ---- Reading

std::optional<Hdf5Attribute> Hdf5Attribute::find(hid_t object, const std::string& name,
                                                 const std::string& what_is_wrong) {
  if (H5Aexists(object, name.c_str()) <= 0) return std::nullopt;
  return Hdf5Attribute(object, name, what_is_wrong);
}

Hdf5Attribute::Hdf5Attribute(hid_t object, const std::string& name, const std::string& what_is_wrong)
    : what_is_wrong_(what_is_wrong),
      attribute_(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, what_is_wrong),
      type_(H5Aget_type(attribute_), H5Tclose, what_is_wrong),
      class_(H5Tget_class(type_)) {
  const Hdf5Id space(H5Aget_space(attribute_), H5Sclose, what_is_wrong);
  count_ = H5Sget_simple_extent_npoints(space);
}

std::string Hdf5Attribute::text() const {
  std::string value;
  if (H5Tis_variable_str(type_) > 0) {
    const Hdf5Id memory = variable_text_type(H5Tget_cset(type_), what_is_wrong_);
    char* pointer = nullptr;
    hdf5_check(H5Aread(attribute_, memory, &pointer), what_is_wrong_);
    if (pointer) value = pointer;
    H5free_memory(pointer);
  } else {
    value.resize(H5Tget_size(type_));
    hdf5_check(H5Aread(attribute_, type_, value.data()), what_is_wrong_);
    value.resize(std::min(value.find('\0'), value.size()));
    while (!value.empty() && value.back() == ' ') value.pop_back();  // space-padded
  }
  return value;
}

std::vector<std::int32_t> Hdf5Attribute::integers() const {
  std::vector<std::int32_t> values(static_cast<std::size_t>(count_));
  hdf5_check(H5Aread(attribute_, H5T_NATIVE_INT32, values.data()), what_is_wrong_);
  return values;
}

std::int64_t Hdf5Attribute::integer() const {
  std::int64_t value = 0;
  hdf5_check(H5Aread(attribute_, H5T_NATIVE_INT64, &value), what_is_wrong_);
  return value;
}

Hdf5Dataset::Hdf5Dataset(Hdf5Id dataset, const std::string& what_is_wrong)
    : what_is_wrong_(what_is_wrong),
      dataset_(std::move(dataset)),
      type_(H5Dget_type(dataset_), H5Tclose, what_is_wrong) {
  const Hdf5Id space(H5Dget_space(dataset_), H5Sclose, what_is_wrong);
  extents_.resize(static_cast<std::size_t>(hdf5_check(H5Sget_simple_extent_ndims(space), what_is_wrong)));
  hdf5_check(H5Sget_simple_extent_dims(space, extents_.data(), nullptr), what_is_wrong);
}

void Hdf5Dataset::read(hid_t type, std::int64_t first, std::int64_t count, void* values, hid_t transfer) const {
  if (count == 0) return;
  std::vector<hsize_t> start(extents_.size(), 0), size = extents_;
  start[0] = hsize_t(first);
  size[0] = hsize_t(count);
  const Hdf5Id space(H5Dget_space(dataset_), H5Sclose, what_is_wrong_);
  hdf5_check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr), what_is_wrong_);
  const Hdf5Id memory(H5Screate_simple(int(size.size()), size.data(), nullptr), H5Sclose, what_is_wrong_);
  hdf5_check(H5Dread(dataset_, type, memory, space, transfer, values), what_is_wrong_);
}

std::vector<std::string> Hdf5Dataset::texts() const {
  const std::size_t length = H5Tget_size(type_), rows = extents_[0];
  std::vector<char> padded(rows * length);
  read(type_, 0, std::int64_t(rows), padded.data());
  std::vector<std::string> values;
  for (std::size_t row = 0; row < rows; ++row) {
    const char* start = padded.data() + row * length;
    values.emplace_back(start, strnlen(start, length));
  }
  return values;
}

// ---- Writing

Hdf5Id create_group(hid_t file, const std::string& name) {
  const std::string what = "cannot write group '" + name + "'";
  const Hdf5Id creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, what);
  hdf5_check(H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), what);
  hdf5_check(H5Pset_obj_track_times(creation, false), what);
  return Hdf5Id(H5Gcreate2(file, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose, what);
}

namespace {

void write_scalar(hid_t object, const std::string& name, hid_t type, const void* value) {
  const std::string what = "cannot write attribute '" + name + "'";
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose, what);
  const Hdf5Id attribute(H5Acreate2(object, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what);
  hdf5_check(H5Awrite(attribute, type, value), what);
}

Hdf5Id fixed_text_type(std::size_t length) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "cannot describe a text column");
  hdf5_check(H5Tset_size(type, length), "cannot describe a text column");
  hdf5_check(H5Tset_strpad(type, H5T_STR_NULLTERM), "cannot describe a text column");
  hdf5_check(H5Tset_cset(type, H5T_CSET_UTF8), "cannot describe a text column");
  return type;
}

/// Rows per chunk: 128 KiB of numbers, small enough to read a part, large enough to compress.
constexpr hsize_t rows_per_chunk = 16384;
constexpr unsigned deflate_level = 6;  // zlib's own default

void write_values(hid_t group, const std::string& name, hid_t type, hsize_t rows, const void* values,
                  const std::string& unit, const std::string& description) {
  const std::string what = "cannot write column '" + name + "'";
  const hsize_t unlimited = H5S_UNLIMITED;
  const hsize_t chunk = std::clamp<hsize_t>(rows, 1, rows_per_chunk);
  const Hdf5Id space(H5Screate_simple(1, &rows, &unlimited), H5Sclose, what);
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  hdf5_check(H5Pset_chunk(creation, 1, &chunk), what);
  hdf5_check(H5Pset_deflate(creation, deflate_level), what);
  hdf5_check(H5Pset_fletcher32(creation), what);
  hdf5_check(H5Pset_obj_track_times(creation, false), what);  // same results, same bytes
  const Hdf5Id dataset(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose,
                       what);
  if (rows > 0) hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), what);
  write_attribute(dataset, "unit", unit);
  write_attribute(dataset, "description", description);
}

}  // namespace

void write_attribute(hid_t object, const std::string& name, const std::string& value) {
  const char* pointer = value.c_str();
  write_scalar(object, name, variable_text_type(H5T_CSET_UTF8, "cannot describe a text attribute"), &pointer);
}

void write_attribute(hid_t object, const std::string& name, std::int64_t value) {
  write_scalar(object, name, H5T_NATIVE_INT64, &value);
}

void write_column(hid_t group, const std::string& name, const std::vector<std::int64_t>& values,
                  const std::string& unit, const std::string& description) {
  write_values(group, name, H5T_NATIVE_INT64, values.size(), values.data(), unit, description);
}

void write_column(hid_t group, const std::string& name, const std::vector<double>& values, const std::string& unit,
                  const std::string& description) {
  write_values(group, name, H5T_NATIVE_DOUBLE, values.size(), values.data(), unit, description);
}

void write_column(hid_t group, const std::string& name, const std::vector<std::string>& values, const std::string& unit,
                  const std::string& description) {
  std::size_t length = 1;  // with a zero at the end
  for (const std::string& value : values) length = std::max(length, value.size() + 1);
  std::vector<char> padded(values.size() * length, '\0');
  for (std::size_t row = 0; row < values.size(); ++row) {
    std::copy(values[row].begin(), values[row].end(), padded.begin() + std::ptrdiff_t(row * length));
  }
  write_values(group, name, fixed_text_type(length), values.size(), padded.data(), unit, description);
}

}  // namespace bitcluster
