#pragma once

#include <hdf5.h>

#include <string>
#include <utility>

#include "host/base/error.hpp"

namespace bitcluster {

/// Why the last HDF5 call failed: the innermost entry of the library's error stack.
inline std::string hdf5_reason() {
  std::string reason;
  const auto keep_innermost = [](unsigned depth, const H5E_error2_t* entry, void* text) -> herr_t {
    if (depth == 0 && entry->desc) *static_cast<std::string*>(text) = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &reason);
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

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
inline void silence_hdf5() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

/// Opens a file for reading, without file locks (files are replaced as a whole, and some cluster file systems have no
/// locks). Error if it is missing or not HDF5.
inline Hdf5Id open_hdf5(const std::string& path) {
  silence_hdf5();
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "cannot prepare to read '" + path + "'");
  hdf5_check(H5Pset_file_locking(access, false, true), "cannot prepare to read '" + path + "'");
  return Hdf5Id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose, "cannot read '" + path + "'");
}

}  // namespace bitcluster
