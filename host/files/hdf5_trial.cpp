#include "host/files/hdf5_trial.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"
#include "host/files/posix_file.hpp"

namespace bitcluster {
namespace {

constexpr rlim_t most_seconds = 10;  // of the processor; a hundred thousand objects take about one

// Nothing here says whether it failed: what HDF5 refuses is reported by whoever reads the file afterwards.

herr_t read_attribute(hid_t object, const char* name, const H5A_info_t* info, void*) {
  constexpr hsize_t most_bytes = 1 << 16;  // HDF5's own limit for what lies beside an object
  const hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
  if (attribute < 0) return 0;
  const hid_t type = H5Aget_type(attribute);
  const hid_t space = H5Aget_space(attribute);
  const hssize_t count = H5Sget_simple_extent_npoints(space);
  const std::size_t size = H5Tget_size(type);
  const bool is_plain = H5Tdetect_class(type, H5T_VLEN) == 0 && H5Tis_variable_str(type) == 0;
  if (is_plain && info->data_size <= most_bytes && count > 0 && hsize_t(count) <= most_bytes && size <= most_bytes) {
    std::vector<char> values(size * std::size_t(count));
    H5Aread(attribute, type, values.data());
  }
  H5Sclose(space);
  H5Tclose(type);
  H5Aclose(attribute);
  return 0;
}

herr_t visit(hid_t file, const char* name, const H5O_info_t* info, void*) {
  const hid_t object = H5Oopen(file, name, H5P_DEFAULT);
  if (object < 0) return 0;
  H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, read_attribute, nullptr);
  if (info->type == H5O_TYPE_DATASET) {
    const hid_t type = H5Dget_type(object), space = H5Dget_space(object), creation = H5Dget_create_plist(object);
    H5Dget_storage_size(object);
    hsize_t chunks = 0;
    if (H5Pget_layout(creation) == H5D_CHUNKED) H5Dget_num_chunks(object, space, &chunks);
    H5Pclose(creation);
    H5Sclose(space);
    H5Tclose(type);
  }
  H5Oclose(object);
  return 0;
}

/// What the other process does. Returns its exit status.
int go_through(const std::string& path) {
  // an MPI library or a sanitizer would print where it died
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGXCPU}) std::signal(signal, SIG_DFL);
  const int nowhere = open("/dev/null", O_WRONLY);
  dup2(nowhere, STDOUT_FILENO);
  dup2(nowhere, STDERR_FILENO);
  const rlimit no_core{0, 0}, time{most_seconds, most_seconds};
  setrlimit(RLIMIT_CORE, &no_core);
  setrlimit(RLIMIT_CPU, &time);

  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, false, true);
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  if (file >= 0) {
    H5Ovisit2(file, H5_INDEX_NAME, H5_ITER_INC, visit, nullptr, H5O_INFO_BASIC);
    H5Fclose(file);
  }
  return 0;
}

}  // namespace

void try_hdf5(const std::string& path, const std::string& what_is_wrong) {
  const pid_t child = fork();
  if (child == 0) _exit(go_through(path));
  if (child < 0) throw Error(what_is_wrong, "no process can be started: " + system_reason(), "end others, or retry");
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  const bool took_long = WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL);
  throw Error(what_is_wrong,
              took_long ? fmt::format("it is damaged: HDF5 has not gone through it after {} s", most_seconds)
                        : std::string("it is damaged: HDF5 crashes on what is written between its values"),
              "copy or write the file again; in h5py, libver=\"latest\" adds checksums to all of it");
}

}  // namespace bitcluster
