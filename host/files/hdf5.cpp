#include "host/files/hdf5.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "host/base/checked_product.hpp"
#include "host/base/printable.hpp"
#include "host/files/hdf5_chunks.hpp"
#include "host/files/hdf5_trial.hpp"
#include "host/files/posix_file.hpp"

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
  check_readable(path);
  silence_hdf5();
  const std::string what = fmt::format("cannot read '{}'", path);
  try_hdf5(path, what);
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  hdf5_check(H5Pset_file_locking(access, false, true), what);
  return Hdf5Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose, what);
}

// ---- Reading

namespace {

/// HDF5's own limit of what lies beside an object, as attributes do.
constexpr std::size_t most_of_attribute = 65536;  // [byte]

constexpr const char* layout_advice = "check that the file is complete and has the documented layout";
constexpr const char* fixed_text_advice =
    "store texts with a fixed length, in h5py as numpy.bytes_(\"text\"), since damage to others crashes HDF5";

Hdf5Id open_member(hid_t group, const std::string& name, H5I_type_t wanted, const std::string& what_is_wrong) {
  H5L_info_t link;
  hdf5_check(H5Lget_info(group, name.c_str(), &link, H5P_DEFAULT), what_is_wrong);
  if (link.type != H5L_TYPE_HARD) {
    throw Error(what_is_wrong, "it is a soft or external link, which may lead anywhere", "store the data itself there");
  }
  Hdf5Id object(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose, what_is_wrong);
  if (H5Iget_type(object) != wanted) {
    throw Error(what_is_wrong, wanted == H5I_GROUP ? "it is not a group" : "it is not a dataset", layout_advice);
  }
  return object;
}

/// Whether a type is one of some. Any other number has bits that mean something else: HDF5 would convert it to what the
/// file says that it is.
bool is_one_of(hid_t type, std::initializer_list<hid_t> standard) {
  return std::ranges::any_of(standard, [&](hid_t other) { return H5Tequal(type, other) > 0; });
}

bool is_standard_integer(hid_t type) {
  return is_one_of(type, {H5T_STD_I8LE, H5T_STD_I8BE, H5T_STD_U8LE, H5T_STD_U8BE, H5T_STD_I16LE, H5T_STD_I16BE,
                          H5T_STD_U16LE, H5T_STD_U16BE, H5T_STD_I32LE, H5T_STD_I32BE, H5T_STD_U32LE, H5T_STD_U32BE,
                          H5T_STD_I64LE, H5T_STD_I64BE, H5T_STD_U64LE, H5T_STD_U64BE});
}

bool is_standard_float(hid_t type) {
  return is_one_of(type, {H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_IEEE_F64BE});
}

/// A text as it was before something padded it; nothing if it goes on behind its end, where it would be cut.
std::optional<std::string> unpadded(std::string_view padded) {
  const std::string_view text = padded.substr(0, padded.find('\0'));
  if (padded.find_first_not_of('\0', text.size()) != std::string_view::npos) return std::nullopt;
  return std::string(text);
}

}  // namespace

bool has_member(hid_t group, const std::string& name) { return H5Lexists(group, name.c_str(), H5P_DEFAULT) > 0; }

Hdf5Id open_group(hid_t parent, const std::string& name, const std::string& what_is_wrong) {
  return open_member(parent, name, H5I_GROUP, what_is_wrong);
}

std::optional<Hdf5Attribute> Hdf5Attribute::find(hid_t object, const std::string& name,
                                                 const std::string& what_is_wrong) {
  if (H5Aexists(object, name.c_str()) <= 0) return std::nullopt;
  return Hdf5Attribute(object, name, what_is_wrong);
}

Hdf5Attribute::Hdf5Attribute(hid_t object, const std::string& name, const std::string& what_is_wrong)
    : what_is_wrong_(what_is_wrong),
      attribute_(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, what_is_wrong),
      type_(H5Aget_type(attribute_), H5Tclose, what_is_wrong) {
  const Hdf5Id space(H5Aget_space(attribute_), H5Sclose, what_is_wrong);
  count_ = hdf5_check(H5Sget_simple_extent_npoints(space), what_is_wrong);
}

void Hdf5Attribute::reject(const std::string& why, const std::string& what_to_do) const {
  throw Error(what_is_wrong_, why, what_to_do);
}

std::string Hdf5Attribute::text() const {
  if (H5Tget_class(type_) != H5T_STRING || count_ != 1) reject("it is not one text", layout_advice);
  if (H5Tis_variable_str(type_) != 0) reject("it is a text of variable length", fixed_text_advice);
  const std::size_t length = H5Tget_size(type_);
  if (length > most_of_attribute) {
    reject(fmt::format("it claims {} bytes, an attribute has {} at most", length, most_of_attribute), layout_advice);
  }
  std::string padded(length, '\0');
  hdf5_check(H5Aread(attribute_, type_, padded.data()), what_is_wrong_);
  std::optional<std::string> value = unpadded(padded);
  if (!value) reject("the text goes on behind its end", layout_advice);
  while (!value->empty() && value->back() == ' ') value->pop_back();  // space-padded
  return *value;
}

std::vector<std::int64_t> Hdf5Attribute::integers() const {
  if (!is_standard_integer(type_)) reject("it is not a whole number", layout_advice);
  if (count_ > std::int64_t(most_of_attribute)) {
    reject(fmt::format("it claims {} values, more than an attribute can have", count_), layout_advice);
  }
  std::vector<std::int64_t> values(static_cast<std::size_t>(count_));
  if (count_ > 0) hdf5_check(H5Aread(attribute_, H5T_NATIVE_INT64, values.data()), what_is_wrong_);
  return values;
}

std::int64_t Hdf5Attribute::integer() const {
  if (count_ != 1) reject(fmt::format("it has {} values instead of one", count_), layout_advice);
  return integers()[0];
}

Hdf5Dataset::Hdf5Dataset(hid_t group, const std::string& name, const std::string& what_is_wrong)
    : what_is_wrong_(what_is_wrong),
      dataset_(open_member(group, name, H5I_DATASET, what_is_wrong)),
      type_(H5Dget_type(dataset_), H5Tclose, what_is_wrong) {
  const Hdf5Id space(H5Dget_space(dataset_), H5Sclose, what_is_wrong);
  extents_.resize(static_cast<std::size_t>(hdf5_check(H5Sget_simple_extent_ndims(space), what_is_wrong)));
  hdf5_check(H5Sget_simple_extent_dims(space, extents_.data(), nullptr), what_is_wrong);
  check_type();
  check_storage();
}

void Hdf5Dataset::reject(const std::string& why, const std::string& what_to_do) const {
  throw Error(what_is_wrong_, why, what_to_do);
}

void Hdf5Dataset::check_type() const {
  const H5T_class_t type = type_class();
  if (H5Tis_variable_str(type_) != 0 || type == H5T_VLEN) {
    reject("its values are of variable length", fixed_text_advice);
  }
  if ((type == H5T_INTEGER && !is_standard_integer(type_)) || (type == H5T_FLOAT && !is_standard_float(type_))) {
    reject("its numbers are of no standard type",
           "store whole numbers of 8, 16, 32 or 64 bits, or IEEE numbers of 32 or 64");
  }
}

/// Values that are in no file, or more of them than the file can hold, are not asked for memory.
void Hdf5Dataset::check_storage() const {
  const Hdf5Id creation(H5Dget_create_plist(dataset_), H5Pclose, what_is_wrong_);
  const H5D_layout_t layout = H5Pget_layout(creation);
  if (layout == H5D_VIRTUAL || H5Pget_external_count(creation) != 0) {
    reject("its values are in another file", "store them in this one");
  }
  const Hdf5Id file(H5Iget_file_id(dataset_), H5Fclose, what_is_wrong_);
  hsize_t file_size = 0;
  hdf5_check(H5Fget_filesize(file, &file_size), what_is_wrong_);
  const hsize_t stored = std::min(hdf5_check(H5Dget_storage_size(dataset_), what_is_wrong_), file_size);
  constexpr hsize_t deflated = 1032;  // bytes that zlib makes of one at most (https://zlib.net/zlib_tech.html)
  const auto fits = [&](std::vector<hsize_t> sizes) {
    sizes.push_back(H5Tget_size(type_));
    return checked_product(sizes, stored * deflated).has_value();
  };
  if (!fits(extents_)) {
    reject(fmt::format("it claims {} values of {} bytes, the file has {} bytes of them", fmt::join(extents_, " x "),
                       H5Tget_size(type_), stored),
           "write all values, or copy the file again");
  }
  if (layout != H5D_CHUNKED || stored == 0) return;
  std::vector<hsize_t> chunk(extents_.size());
  hdf5_check(H5Pget_chunk(creation, int(chunk.size()), chunk.data()), what_is_wrong_);
  if (!fits(chunk)) {
    reject(fmt::format("it claims pieces of {} values, the file has {} bytes of them", fmt::join(chunk, " x "), stored),
           "copy the file again");
  }
}

void Hdf5Dataset::read(hid_t type, std::int64_t first, std::int64_t count, void* values, hid_t transfer) const {
  if (count == 0) return;
  check_chunks(dataset_, first, count, what_is_wrong_);
  std::vector<hsize_t> start(extents_.size(), 0), size = extents_;
  start[0] = hsize_t(first);
  size[0] = hsize_t(count);
  const Hdf5Id space(H5Dget_space(dataset_), H5Sclose, what_is_wrong_);
  hdf5_check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr), what_is_wrong_);
  const Hdf5Id memory(H5Screate_simple(int(size.size()), size.data(), nullptr), H5Sclose, what_is_wrong_);
  hdf5_check(H5Dread(dataset_, type, memory, space, transfer, values), what_is_wrong_);
}

/// How many values the column has.
std::size_t Hdf5Dataset::check_column(hid_t type, std::size_t most) const {
  if (extents_.size() != 1 || H5Tequal(type_, type) <= 0) {
    reject("it has another type or shape than such a column", layout_advice);
  }
  if (extents_[0] > most) {
    reject(fmt::format("it has {} rows, at most {} are read", extents_[0], most), "give a file with fewer rows");
  }
  return std::size_t(extents_[0]);
}

std::vector<std::string> Hdf5Dataset::texts(std::size_t most) const {
  if (type_class() != H5T_STRING) reject("it has another type or shape than a column of texts", layout_advice);
  const std::size_t length = H5Tget_size(type_), rows = check_column(type_, most);
  std::vector<char> padded(rows * length);
  read(type_, 0, std::int64_t(rows), padded.data());
  std::vector<std::string> values;
  values.reserve(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    std::optional<std::string> value = unpadded({padded.data() + row * length, length});
    if (!value) reject(fmt::format("the text of row {} goes on behind its end", row), layout_advice);
    values.push_back(std::move(*value));
  }
  return values;
}

// ---- Writing

namespace {

// The memory of a file that is in memory only. H5Fget_file_image() would give it while the file is open, with a mark
// that says so or, in HDF5 1.10, with a wrong checksum.
void* grow_memory(void* memory, std::size_t size, H5FD_file_image_op_t, void*) { return std::realloc(memory, size); }

herr_t keep_memory(void* memory, H5FD_file_image_op_t, void* kept) {
  auto& bytes = *static_cast<std::vector<std::byte>*>(kept);  // as many as the file has
  if (!bytes.empty()) std::memcpy(bytes.data(), memory, bytes.size());
  std::free(memory);
  return 0;
}

}  // namespace

std::vector<std::byte> hdf5_bytes(const std::function<void(hid_t file)>& fill) {
  silence_hdf5();
  const std::string what = "cannot build a file in memory";
  std::vector<std::byte> bytes;
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  constexpr std::size_t growth = 4096;  // [byte], what the end may waste
  hdf5_check(H5Pset_fapl_core(access, growth, false), what);
  H5FD_file_image_callbacks_t callbacks{};
  callbacks.image_realloc = grow_memory;
  callbacks.image_free = keep_memory;
  callbacks.udata = &bytes;
  callbacks.udata_copy = [](void* kept) { return kept; };
  callbacks.udata_free = [](void*) { return herr_t(0); };
  hdf5_check(H5Pset_file_image_callbacks(access, &callbacks), what);
  hdf5_check(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), what);
  const Hdf5Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, what);
  hdf5_check(H5Pset_obj_track_times(creation, false), what);  // of the root: same results, same bytes
  {
    const Hdf5Id file(H5Fcreate("in memory", H5F_ACC_TRUNC, creation, access), H5Fclose, what);
    fill(file);
    hdf5_check(H5Fflush(file, H5F_SCOPE_LOCAL), what);
    hsize_t size = 0;  // in whole pieces of `growth`
    hdf5_check(H5Fget_filesize(file, &size), what);
    bytes.resize(std::size_t(size));
  }
  return bytes;
}

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
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "cannot describe a text");
  hdf5_check(H5Tset_size(type, length), "cannot describe a text");
  hdf5_check(H5Tset_strpad(type, H5T_STR_NULLTERM), "cannot describe a text");
  hdf5_check(H5Tset_cset(type, H5T_CSET_UTF8), "cannot describe a text");
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
  write_scalar(object, name, fixed_text_type(value.size() + 1), value.c_str());
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
  // a zero inside a text, as a model file may have, would be its end
  const auto without_zeros = [](const std::string& text) {
    return text.find('\0') == std::string::npos ? text : printable(text);
  };
  std::size_t length = 1;  // with a zero at the end
  for (const std::string& value : values) length = std::max(length, without_zeros(value).size() + 1);
  std::vector<char> padded(values.size() * length, '\0');
  for (std::size_t row = 0; row < values.size(); ++row) {
    std::ranges::copy(without_zeros(values[row]), padded.begin() + std::ptrdiff_t(row * length));
  }
  write_values(group, name, fixed_text_type(length), values.size(), padded.data(), unit, description);
}

}  // namespace bitcluster
