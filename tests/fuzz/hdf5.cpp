#include "host/data/trace.hpp"
#include "host/results/file.hpp"
#include "host/results/report.hpp"
#include "tests/fuzz/target.hpp"
#include "tests/made_results.hpp"

// HDF5: traces, results.
namespace bitcluster::fuzz {
namespace {

namespace fs = std::filesystem;

void write_tensor(hid_t group, const char* name, const std::vector<hsize_t>& extents, bool compressed) {
  const Hdf5Id space(H5Screate_simple(int(extents.size()), extents.data(), nullptr), H5Sclose, "");
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "");
  if (compressed) {
    hdf5_check(H5Pset_chunk(creation, int(extents.size()), extents.data()), "");
    hdf5_check(H5Pset_deflate(creation, 6), "");
    hdf5_check(H5Pset_fletcher32(creation), "");
  }
  const Hdf5Id dataset(H5Dcreate2(group, name, H5T_STD_I16LE, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose, "");
  std::vector<std::int16_t> values(1);
  for (const hsize_t extent : extents) values.resize(values.size() * extent);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::int16_t(i % 100);
  hdf5_check(H5Dwrite(dataset, H5T_NATIVE_INT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), "");
}

void write_layers(hid_t file, bool compressed) {
  const Hdf5Id layers = create_group(file, "layers");
  const Hdf5Id conv = create_group(layers, "0_conv");
  write_attribute(conv, "kind", "conv");
  write_attribute(conv, "stride", 2);
  write_attribute(conv, "padding", 1);
  write_tensor(conv, "weights", {4, 3, 3, 3}, compressed);
  write_tensor(conv, "activations", {2, 3, 5, 5}, compressed);
  const Hdf5Id fc = create_group(layers, "1_fc");
  write_attribute(fc, "kind", "fc");
  write_tensor(fc, "weights", {3, 8}, compressed);
}

/// A file in the oldest format, which h5py writes by default, and one in ours, with checksums.
std::vector<std::string> trace_seeds(const fs::path& folder) {
  const std::string path = folder / "seed.h5";
  {
    const Hdf5Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose, "");
    write_layers(file, false);
  }
  const std::vector<std::byte> bytes = hdf5_bytes([](hid_t file) { write_layers(file, true); });
  return {read_file(path), {reinterpret_cast<const char*>(bytes.data()), bytes.size()}};
}

void run_trace(const std::string& input, const fs::path& folder) {
  write_file(folder / "trace.h5", input);
  Trace trace(folder / "trace.h5");
  for (int layer = 0; layer < int(trace.layers().size()); ++layer) {
    trace.tensors(layer, std::max(0, trace.layers()[std::size_t(layer)].images - 1));
  }
}

std::vector<std::string> results_seeds(const fs::path& folder) {
  write_results(folder / "seed.h5", made_results());
  return {read_file(folder / "seed.h5")};
}

void run_results(const std::string& input, const fs::path& folder) {
  write_file(folder / "results.h5", input);
  const Results results = read_results(folder / "results.h5");
  for (const TableFormat format : {TableFormat::text, TableFormat::markdown, TableFormat::csv}) {
    format_summary(results, format);
  }
}

}  // namespace

const Target trace{"trace", trace_seeds, run_trace};
const Target results{"results", results_seeds, run_results};

}  // namespace bitcluster::fuzz
