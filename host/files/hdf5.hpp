#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "host/base/error.hpp"

namespace bitcluster {

/// Why the last HDF5 call failed: the innermost entry of the library's error stack.
std::string hdf5_reason();

/// Error if an HDF5 call failed (returned a negative number). Returns what the call returned.
template <class Status>
Status hdf5_check(Status status, const std::string& what_is_wrong,
                  const std::string& what_to_do = "check that the file is complete and has the documented layout") {
  if (status < 0) throw Error(what_is_wrong, hdf5_reason(), what_to_do);
  return status;
}

/// An HDF5 id that closes itself: Hdf5Id group(H5Gopen2(...), H5Gclose, "cannot open group 'x'").
class Hdf5Id {
 public:
  using Close = herr_t (*)(hid_t);

  /// Takes over an id as the HDF5 call returned it; Error if that call failed.
  Hdf5Id(hid_t id, Close close, const std::string& what_is_wrong) : id_(hdf5_check(id, what_is_wrong)), close_(close) {}
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Hdf5Id(const Hdf5Id&) = delete;
  Hdf5Id& operator=(const Hdf5Id&) = delete;
  Hdf5Id& operator=(Hdf5Id&&) = delete;
  ~Hdf5Id() {
    if (id_ >= 0) close_(id_);
  }

  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

/// Keeps HDF5 from printing its error stack; our Errors carry the reason.
void silence_hdf5();

/// Opens a file for reading, without file locks (files are replaced as a whole, and some cluster file systems have no
/// locks). Error if it is missing, no regular file or not HDF5.
Hdf5Id open_hdf5(const std::string& path);

/// HDF5's name for the type of a column's numbers.
template <class T>
hid_t hdf5_type() {
  if constexpr (std::is_same_v<T, double>) return H5T_NATIVE_DOUBLE;
  static_assert(std::is_same_v<T, double> || std::is_same_v<T, std::int64_t>);
  return H5T_NATIVE_INT64;
}

// ---- Reading. Nothing that a file says of itself is believed: everything is reached by links within the file, and its
// class, type, size and extents are checked before its values are read. Errors begin with `what_is_wrong`, of whoever
// reads. Texts have a fixed length: those of variable length lie in a heap whose damage crashes or hangs HDF5 1.10.

/// Whether a group has a link of that name, whatever it leads to.
bool has_member(hid_t group, const std::string& name);

/// Opens a group. Error if it is something else, or the link is a soft or external one.
Hdf5Id open_group(hid_t parent, const std::string& name, const std::string& what_is_wrong);

/// An attribute, opened and measured.
class Hdf5Attribute {
 public:
  /// Nothing if the object has no such attribute.
  static std::optional<Hdf5Attribute> find(hid_t object, const std::string& name, const std::string& what_is_wrong);

  /// One text of fixed length, without what pads it. Error for anything else.
  std::string text() const;
  /// Whole numbers, a scalar is one; what does not fit is the least or the greatest int64. Error for anything else.
  std::vector<std::int64_t> integers() const;
  /// The same of one. Error for more.
  std::int64_t integer() const;

 private:
  Hdf5Attribute(hid_t object, const std::string& name, const std::string& what_is_wrong);
  [[noreturn]] void reject(const std::string& why, const std::string& what_to_do) const;

  std::string what_is_wrong_;
  Hdf5Id attribute_, type_;
  std::int64_t count_;  // of its values
};

/// A dataset, opened and measured. Its values are read when asked for and not kept.
class Hdf5Dataset {
 public:
  /// Error if it is no dataset, is reached by a soft or external link, keeps its values in another file, has numbers of
  /// no standard type, or claims more values than the file can hold.
  Hdf5Dataset(hid_t group, const std::string& name, const std::string& what_is_wrong);

  hid_t id() const { return dataset_; }
  H5T_class_t type_class() const { return H5Tget_class(type_); }
  std::size_t value_bytes() const { return H5Tget_size(type_); }
  bool is_unsigned() const { return H5Tget_sign(type_) == H5T_SGN_NONE; }
  const std::vector<hsize_t>& extents() const { return extents_; }

  /// Reads [first, first + count) of the first dimension as numbers of a type; transfer: how, a property list. Error
  /// also for values that were never written.
  void read(hid_t type, std::int64_t first, std::int64_t count, void* values, hid_t transfer = H5P_DEFAULT) const;

  /// All values of one dimension, stored as write_column() does: int64, double, or texts of fixed length. Error for
  /// anything else, and for more than `most` values.
  template <class T>
  std::vector<T> column(std::size_t most) const {
    if constexpr (std::is_same_v<T, std::string>) {
      return texts(most);
    } else {
      std::vector<T> values(check_column(hdf5_type<T>(), most));
      read(hdf5_type<T>(), 0, std::int64_t(values.size()), values.data());
      return values;
    }
  }

 private:
  std::vector<std::string> texts(std::size_t most) const;
  std::size_t check_column(hid_t type, std::size_t most) const;
  void check_type() const;
  void check_storage() const;
  [[noreturn]] void reject(const std::string& why, const std::string& what_to_do) const;

  std::string what_is_wrong_;
  Hdf5Id dataset_, type_;
  std::vector<hsize_t> extents_;
};

// ---- Writing

/// The bytes of a file that `fill` fills, given its id. In memory, so that HDF5 itself never meets a full disk, after
/// which it can neither close nor drop the file; in the format of HDF5 1.10, in which not only values but all that
/// leads to them has checksums: in older ones flipped bits crash the library, or turn values into zeros.
std::vector<std::byte> hdf5_bytes(const std::function<void(hid_t file)>& fill);

/// A group that lists its members in the order in which they were made.
Hdf5Id create_group(hid_t file, const std::string& name);

/// A text of fixed length; at most 64 KiB, with what HDF5 needs beside it.
void write_attribute(hid_t object, const std::string& name, const std::string& value);
void write_attribute(hid_t object, const std::string& name, std::int64_t value);

/// A compressed dataset of one dimension, with a checksum. Texts have a fixed length, that of the longest.
void write_column(hid_t group, const std::string& name, const std::vector<std::int64_t>& values,
                  const std::string& unit, const std::string& description);
void write_column(hid_t group, const std::string& name, const std::vector<double>& values, const std::string& unit,
                  const std::string& description);
void write_column(hid_t group, const std::string& name, const std::vector<std::string>& values, const std::string& unit,
                  const std::string& description);

}  // namespace bitcluster
