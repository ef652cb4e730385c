#include "host/results/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>

#include "host/base/error.hpp"
#include "host/files/hdf5.hpp"

namespace bitcluster {
namespace {

// ---- Schema: every column of every table with its one written definition

Column integer(const std::string& name, const std::string& unit, const std::string& description) {
  return {name, Column::Type::integer, unit, description};
}
Column real(const std::string& name, const std::string& unit, const std::string& description) {
  return {name, Column::Type::real, unit, description};
}
Column text(const std::string& name, const std::string& description) {
  return {name, Column::Type::text, "none", description};
}

Column model_column() { return text("model", "name of the network"); }
Column layer_column() { return text("layer", "name of the layer with weights, as the model file gives it"); }
Column assignment_column() {
  return text(
      "assignment",
      "which weights: float (unquantized), integer (8 bit, all bits), M-BC (BitCluster, one number of terms for "
      "the model), L-BC (BitCluster, terms chosen layer by layer), or another preparation by its name");
}
Column basis_column() {
  return text("basis",
              "what is equal between the designs: throughput (arrays as described, equal dense throughput) or area "
              "(every array resized to the area of BitCluster's)");
}
Column accelerator_column() { return text("accelerator", "name of the accelerator in its description"); }
Column bits_column() { return integer("bits", "bit", "width of the layer's weights, sign included"); }
Column encoding_column(const std::string& of) {
  return text("encoding", "how " + of + " is written in powers of two: binary or signed_digit");
}
Column terms_column() { return integer("terms", "1", "terms per weight, N of BitCluster(N); 0: all bits are kept"); }
Column split_column() { return text("split", "name of the split of the data"); }
Column images_column() { return integer("images", "1", "number of images evaluated"); }
Column top1_column() { return real("top1", "1", "fraction of images whose label has the highest logit"); }
Column cross_entropy_column() { return real("cross_entropy", "nat", "mean cross entropy over the images"); }
Column loss_column() {
  return real("loss", "1", "loss of top-1 accuracy against the float network on the same images, positive: worse");
}
Column loss_low_column() { return real("loss_low", "1", "lower end of the paired 95 % interval of loss"); }
Column loss_high_column() { return real("loss_high", "1", "upper end of the paired 95 % interval of loss"); }

Table layers_table() {
  return {"layers",
          {model_column(), layer_column(), integer("index", "1", "position among the layers with weights, from 0"),
           text("kind", "conv or fc (fully connected)"), integer("filters", "1", "number of filters"),
           integer("channels", "1", "input channels, all groups together"), integer("groups", "1", "number of groups"),
           integer("kernel_h", "1", "kernel height"), integer("kernel_w", "1", "kernel width"),
           integer("stride_h", "1", "vertical stride"), integer("stride_w", "1", "horizontal stride"),
           integer("output_h", "1", "height of the output"), integer("output_w", "1", "width of the output"),
           integer("weights", "1", "number of weights, without bias"),
           integer("macs", "1", "multiply-accumulate operations for one image, padding included"),
           real("binary_terms_mean", "1", "mean number of set bits of the plain 8-bit weights' magnitudes"),
           real("signed_digit_terms_mean", "1",
                "mean number of nonzero digits of the non-adjacent form of the plain 8-bit weights' magnitudes")},
          {}};
}

Table sensitivity_table() {
  return {"sensitivity",
          {model_column(), text("layer", "name of the one layer that differs from the integer network"),
           text("weights", "of that layer: bitcluster or bitpruner"), bits_column(), encoding_column("a magnitude"),
           terms_column(), split_column(), images_column(), top1_column(), cross_entropy_column(), loss_column(),
           loss_low_column(), loss_high_column()},
          {}};
}

Table evaluations_table() {
  return {
      "evaluations",
      {model_column(), assignment_column(), text("weights", "float, integer, bitcluster or bitpruner"),
       encoding_column("a magnitude"),
       real("terms_mean", "1",
            "mean terms per weight that hardware spends: N of BitCluster, else the mean of the effectual bits"),
       split_column(), images_column(), top1_column(),
       real("top5", "1", "fraction of images whose label is among the five highest logits"), cross_entropy_column(),
       loss_column(), loss_low_column(), loss_high_column(),
       real("seconds", "s", "wall time of the evaluation; of what ran at once, emulation included, an equal share")},
      {}};
}

Table assignments_table() {
  return {"assignments",
          {model_column(), assignment_column(), layer_column(), bits_column(), encoding_column("a magnitude"),
           terms_column()},
          {}};
}

Table front_table() {
  return {"front",
          {model_column(), assignment_column(), text("weights", "bitcluster or bitpruner"),
           real("terms_mean", "1", "mean terms per weight that hardware spends"), split_column(), images_column(),
           top1_column(), loss_column(), loss_low_column(), loss_high_column(),
           integer("within_budget", "1", "1 if the loss keeps within the search's budget"),
           real("cycles", "cycle", "of all layers with weights for one image, on the design searched for"),
           real("energy_pj", "pJ", "of all layers with weights for one image, on the design searched for")},
          {}};
}

Table accelerators_table() {
  return {"accelerators",
          {basis_column(), accelerator_column(), text("design", "the design's rule, as in its description"),
           integer("lanes", "1", "products per processing element"), integer("rows", "1", "filters per tile"),
           integer("columns", "1", "output pixels"), integer("tiles", "1", "number of tiles"),
           integer("slots_per_cycle", "1", "term operations that the array starts per cycle"),
           real("clock_ghz", "GHz", "clock frequency"), integer("weight_buffer", "byte", "buffer of weights"),
           integer("activation_buffer", "byte", "buffer of activations"),
           real("off_chip_gbyte_per_s", "GB/s", "bandwidth of off-chip memory"),
           real("term_pj", "pJ", "energy of one term operation"),
           real("lane_um2", "um2", "area of one slot with its share of the accumulator"),
           real("array_mm2", "mm2", "area of the array: slots_per_cycle x lane_um2"),
           real("buffer_mm2", "mm2", "area of both buffers")},
          {}};
}

Table emulation_table() {
  return {
      "emulation",
      {model_column(),
       assignment_column(),
       basis_column(),
       accelerator_column(),
       layer_column(),
       integer("images", "1", "images that all counts of this row are summed over"),
       integer("cycles", "cycle", "time of the layer: the larger of compute_cycles and memory_cycles"),
       integer("compute_cycles", "cycle", "time of the layer with data always there"),
       integer("memory_cycles", "cycle", "time of the layer's off-chip transfer alone"),
       real("utilisation", "1", "useful / slots"),
       integer("slots", "1", "term slots: cycles x slots_per_cycle of /accelerators; useful + all idle columns"),
       integer("useful", "1", "slots that worked on an effectual term"),
       integer("zero_bits_known", "1", "0: Stripes ran without activations, all their bits counted as useful; else 1"),
       integer("idle_edge", "1", "slots of lanes, rows, columns or tiles without a value"),
       integer("idle_lane", "1", "slots that waited for another lane of the same processing element"),
       integer("idle_row_column", "1", "slots that waited for another row, column or tile"),
       integer("idle_null_term", "1", "slots spent on a term or bit that is zero"),
       integer("idle_memory", "1", "slots that waited for off-chip memory"),
       real("energy_pj", "pJ", "energy of the layer, sum of the four parts"),
       real("energy_compute_pj", "pJ", "energy of the arithmetic"),
       real("energy_on_chip_pj", "pJ", "energy of on-chip buffers"),
       real("energy_off_chip_pj", "pJ", "energy of off-chip memory"),
       real("energy_leakage_pj", "pJ", "leakage over the cycles"),
       real("weights_off_chip_bytes", "byte", "off-chip traffic of weights in the design's encoded format"),
       real("activations_off_chip_bytes", "byte", "off-chip traffic of activations"),
       real("weights_on_chip_bytes", "byte", "on-chip traffic of weights in the design's encoded format"),
       real("activations_on_chip_bytes", "byte", "on-chip traffic of activations")},
      {}};
}

Table summary_table() {
  const auto idle = [](const std::string& name, const std::string& what) {
    return real(name, "1", "share of the slots " + what);
  };
  Table table{"summary",
              {text("model",
                    "name of the network; 'geometric mean': over the models, of the ratios alone; shares are then of "
                    "the slots of all models together"),
               text("basis", "as in /emulation; empty: accuracy without emulation"), assignment_column(),
               text("accelerator", "name of the accelerator; empty: accuracy without emulation"),
               real("float_top1", "1", "top-1 accuracy of the float network on the test split"),
               real("top1", "1", "top-1 accuracy on the test split"), loss_column(), loss_low_column(),
               loss_high_column(), real("terms_mean", "1", "mean terms per weight that hardware spends"),
               real("cycles", "cycle", "cycles per image, summed over the layers"),
               real("compute_cycles", "cycle", "compute_cycles per image, summed over the layers"),
               real("energy_pj", "pJ", "energy per image, summed over the layers"),
               real("utilisation", "1", "useful slots / slots, both summed over the layers"),
               idle("idle_edge", "of lanes, rows, columns or tiles without a value"),
               idle("idle_lane", "that waited for another lane of the same processing element"),
               idle("idle_row_column", "that waited for another row, column or tile"),
               idle("idle_null_term", "spent on a term or bit that is zero"),
               idle("idle_memory", "that waited for off-chip memory")},
              {}};
  for (const auto& [suffix, assignment] : {std::pair{"_m_bc", "M-BC"}, std::pair{"_l_bc", "L-BC"}}) {
    const auto add = [&](const char* name, const std::string& what) {
      table.columns.push_back(real(std::string(name) + suffix, "1",
                                   what + " of BitCluster with " + assignment +
                                       " against this row's design on the same basis; NaN: not available"));
    };
    add("speedup", "speed (inverse of cycles)");
    add("compute_speedup", "speed with data always there (inverse of compute_cycles)");
    add("energy_ratio", "energy efficiency (inverse of energy)");
    add("utilisation_ratio", "utilisation");
  }
  return table;
}

Table skipped_table() {
  return {"skipped",
          {model_column(), text("stage", "what was being done: import, calibration, search, evaluation, emulation"),
           text("subject", "what could not run: a layer, an assignment, an accelerator"),
           text("reason", "why it could not run")},
          {}};
}

// ---- Writing

Hdf5Id fixed_text_type(std::size_t length) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "cannot describe a text column");
  hdf5_check(H5Tset_size(type, length), "cannot describe a text column");
  hdf5_check(H5Tset_strpad(type, H5T_STR_NULLTERM), "cannot describe a text column");
  hdf5_check(H5Tset_cset(type, H5T_CSET_UTF8), "cannot describe a text column");
  return type;
}

/// Variable length: an attribute of fixed length ends at 64 KiB, which a configuration may pass.
Hdf5Id attribute_text_type() {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, "cannot describe a text attribute");
  hdf5_check(H5Tset_size(type, H5T_VARIABLE), "cannot describe a text attribute");
  hdf5_check(H5Tset_cset(type, H5T_CSET_UTF8), "cannot describe a text attribute");
  return type;
}

void write_attribute(hid_t object, const std::string& name, hid_t type, const void* value) {
  const std::string what = "cannot write attribute '" + name + "'";
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose, what);
  const Hdf5Id attribute(H5Acreate2(object, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, what);
  hdf5_check(H5Awrite(attribute, type, value), what);
}

void write_attribute(hid_t object, const std::string& name, const std::string& value) {
  const char* pointer = value.c_str();
  write_attribute(object, name, attribute_text_type(), &pointer);
}

void write_attribute(hid_t object, const std::string& name, std::int64_t value) {
  write_attribute(object, name, H5T_NATIVE_INT64, &value);
}

/// Rows per chunk: 128 KiB of numbers, small enough to read a part, large enough to compress.
constexpr hsize_t rows_per_chunk = 16384;
constexpr unsigned deflate_level = 6;  // zlib's own default

Hdf5Id write_column(hid_t group, const std::string& name, hid_t type, hsize_t rows, const void* values) {
  const std::string what = "cannot write column '" + name + "'";
  const hsize_t unlimited = H5S_UNLIMITED;
  const hsize_t chunk = std::clamp<hsize_t>(rows, 1, rows_per_chunk);
  const Hdf5Id space(H5Screate_simple(1, &rows, &unlimited), H5Sclose, what);
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, what);
  hdf5_check(H5Pset_chunk(creation, 1, &chunk), what);
  hdf5_check(H5Pset_deflate(creation, deflate_level), what);
  hdf5_check(H5Pset_fletcher32(creation), what);
  hdf5_check(H5Pset_obj_track_times(creation, false), what);  // same results, same bytes
  Hdf5Id dataset(H5Dcreate2(group, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose, what);
  if (rows > 0) hdf5_check(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), what);
  return dataset;
}

Hdf5Id write_texts(hid_t group, const std::string& name, const std::vector<const std::string*>& texts) {
  std::size_t length = 1;  // with a zero at the end
  for (const std::string* value : texts) length = std::max(length, value->size() + 1);
  std::vector<char> padded(texts.size() * length, '\0');
  for (std::size_t row = 0; row < texts.size(); ++row) {
    std::copy(texts[row]->begin(), texts[row]->end(), padded.begin() + std::ptrdiff_t(row * length));
  }
  return write_column(group, name, fixed_text_type(length), texts.size(), padded.data());
}

template <class T>
Hdf5Id write_numbers(hid_t group, const Table& table, std::size_t column, hid_t type) {
  std::vector<T> values;
  for (const auto& row : table.rows) values.push_back(std::get<T>(row[column]));
  return write_column(group, table.columns[column].name, type, values.size(), values.data());
}

Hdf5Id create_group(hid_t file, const std::string& name) {
  const std::string what = "cannot write group '" + name + "'";
  const Hdf5Id creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, what);
  // columns are listed as the schema orders them, not by name
  hdf5_check(H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED), what);
  hdf5_check(H5Pset_obj_track_times(creation, false), what);
  return Hdf5Id(H5Gcreate2(file, name.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose, what);
}

void write_table(hid_t file, const Table& table) {
  const Hdf5Id group = create_group(file, table.name);
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const Column& column = table.columns[c];
    const auto write_values = [&]() -> Hdf5Id {
      if (column.type == Column::Type::integer) return write_numbers<std::int64_t>(group, table, c, H5T_NATIVE_INT64);
      if (column.type == Column::Type::real) return write_numbers<double>(group, table, c, H5T_NATIVE_DOUBLE);
      std::vector<const std::string*> texts;
      for (const auto& row : table.rows) texts.push_back(&std::get<std::string>(row[c]));
      return write_texts(group, column.name, texts);
    };
    const Hdf5Id dataset = write_values();
    write_attribute(dataset, "unit", column.unit);
    write_attribute(dataset, "description", column.description);
  }
}

void write_provenance(hid_t file, const Provenance& provenance) {
  const Hdf5Id group = create_group(file, "provenance");
  write_attribute(group, "schema_version", std::int64_t(schema_version));
  write_attribute(group, "program_version", provenance.program_version);
  write_attribute(group, "git_commit", provenance.git_commit);
  write_attribute(group, "config", provenance.config);
  write_attribute(group, "date", provenance.date);
  write_attribute(group, "seed", provenance.seed);
  write_attribute(group, "ranks", provenance.ranks);
  std::vector<const std::string*> devices;
  for (const std::string& device : provenance.devices) devices.push_back(&device);
  const Hdf5Id dataset = write_texts(group, "devices", devices);
  write_attribute(dataset, "unit", "none");
  write_attribute(dataset, "description", "one line per rank: host, backend with its threads");
}

/// The bytes of the results file. Built in memory, so that HDF5 itself never meets a full disk, after which it can
/// neither close nor drop the file.
std::vector<char> file_image(const Results& results) {
  const std::string what = "cannot build the results file in memory";
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, what);
  constexpr std::size_t growth = 1 << 20;
  hdf5_check(H5Pset_fapl_core(access, growth, false), what);
  const Hdf5Id file(H5Fcreate("results", H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose, what);
  write_provenance(file, results.provenance);
  for (const Table* table : results.tables()) write_table(file, *table);
  hdf5_check(H5Fflush(file, H5F_SCOPE_LOCAL), what);
  const auto size = hdf5_check(H5Fget_file_image(file, nullptr, 0), what);
  std::vector<char> bytes(static_cast<std::size_t>(size));
  hdf5_check(H5Fget_file_image(file, bytes.data(), bytes.size()), what);
  return bytes;
}

std::string system_reason() { return std::strerror(errno); }

[[noreturn]] void fail_to_write(const std::string& path, const std::string& reason) {
  throw Error("cannot write '" + path + "'", reason, "free some space or choose another output file");
}

/// An open file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor(const std::string& path, int flags) : id_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    const int reason = errno;  // of the call that failed before, not of close
    if (id_ >= 0) ::close(id_);
    errno = reason;
  }
  int id() const { return id_; }
  bool close() { return ::close(std::exchange(id_, -1)) == 0; }

 private:
  int id_;
};

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

/// Temporary name beside the target; the process id keeps two programs that write the same target apart.
std::string partial_name(const std::string& path) { return path + "." + std::to_string(::getpid()) + ".partial"; }

/// Writes and syncs a new file; false with errno set if anything fails.
bool write_synced(const std::string& path, const std::vector<char>& bytes) {
  Descriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  if (file.id() < 0) return false;
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written = ::write(file.id(), bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    done += std::size_t(written);
  }
  return ::fsync(file.id()) == 0 && file.close();
}

/// Makes a rename in this folder durable; false with errno set if it fails.
bool sync_folder(const std::string& path) {
  const Descriptor folder(path, O_RDONLY | O_DIRECTORY);
  if (folder.id() < 0) return false;
  return ::fsync(folder.id()) == 0 || errno == EINVAL;  // EINVAL: this file system cannot sync folders
}

// ---- Reading

std::string in_file(const std::string& path) { return " of '" + path + "'"; }

[[noreturn]] void reject_file(const std::string& path, const std::string& why) {
  throw Error("cannot read '" + path + "'", why,
              "give a results file that this version of bitcluster wrote, or make it again");
}

Hdf5Id open_attribute(hid_t object, const std::string& name, const std::string& path) {
  if (H5Aexists(object, name.c_str()) <= 0) reject_file(path, "/provenance has no attribute '" + name + "'");
  return Hdf5Id(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose,
                "cannot read attribute '" + name + "'" + in_file(path));
}

std::int64_t read_integer_attribute(hid_t object, const std::string& name, const std::string& path) {
  const Hdf5Id attribute = open_attribute(object, name, path);
  std::int64_t value = 0;
  hdf5_check(H5Aread(attribute, H5T_NATIVE_INT64, &value), "cannot read attribute '" + name + "'" + in_file(path));
  return value;
}

std::string read_text_attribute(hid_t object, const std::string& name, const std::string& path) {
  const Hdf5Id attribute = open_attribute(object, name, path);
  char* pointer = nullptr;
  hdf5_check(H5Aread(attribute, attribute_text_type(), &pointer),
             "cannot read attribute '" + name + "'" + in_file(path));
  std::string value = pointer ? pointer : "";
  H5free_memory(pointer);
  return value;
}

Hdf5Id open_group(hid_t file, const std::string& name, const std::string& path) {
  if (H5Lexists(file, name.c_str(), H5P_DEFAULT) <= 0) reject_file(path, "it has no group /" + name);
  return Hdf5Id(H5Gopen2(file, name.c_str(), H5P_DEFAULT), H5Gclose, "cannot read group /" + name + in_file(path));
}

/// One column of a file, opened and measured.
struct StoredColumn {
  std::string what;  // for messages
  Hdf5Id dataset;
  std::size_t rows = 0;

  StoredColumn(hid_t group, const std::string& group_name, const std::string& name, H5T_class_t wanted,
               const std::string& path)
      : what("cannot read column /" + group_name + "/" + name + in_file(path)), dataset([&] {
          if (H5Lexists(group, name.c_str(), H5P_DEFAULT) <= 0) {
            reject_file(path, "column '" + name + "' of /" + group_name + " is missing");
          }
          return Hdf5Id(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose, what);
        }()) {
    const Hdf5Id space(H5Dget_space(dataset), H5Sclose, what);
    const Hdf5Id type(H5Dget_type(dataset), H5Tclose, what);
    if (H5Sget_simple_extent_ndims(space) != 1 || H5Tget_class(type) != wanted || H5Tis_variable_str(type) > 0) {
      reject_file(path, "column '" + name + "' of /" + group_name + " has another type or shape than the schema's");
    }
    rows = std::size_t(hdf5_check(H5Sget_simple_extent_npoints(space), what));
  }

  template <class T>
  std::vector<T> numbers(hid_t type) const {
    std::vector<T> values(rows);
    if (rows > 0) hdf5_check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), what);
    return values;
  }

  std::vector<std::string> texts() const {
    const Hdf5Id type(H5Dget_type(dataset), H5Tclose, what);
    const std::size_t length = H5Tget_size(type);
    std::vector<char> padded(rows * length);
    if (rows > 0) hdf5_check(H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), what);
    std::vector<std::string> values;
    for (std::size_t row = 0; row < rows; ++row) {
      const char* start = padded.data() + row * length;
      values.emplace_back(start, strnlen(start, length));
    }
    return values;
  }
};

H5T_class_t storage_class(Column::Type type) {
  if (type == Column::Type::integer) return H5T_INTEGER;
  return type == Column::Type::real ? H5T_FLOAT : H5T_STRING;
}

void read_table(hid_t file, const std::string& path, Table& table) {
  const Hdf5Id group = open_group(file, table.name, path);
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    const Column& column = table.columns[c];
    const StoredColumn stored(group, table.name, column.name, storage_class(column.type), path);
    if (c == 0) table.rows.assign(stored.rows, std::vector<Value>(table.columns.size()));
    if (stored.rows != table.rows.size()) {
      reject_file(path, "columns '" + table.columns[0].name + "' and '" + column.name + "' of /" + table.name +
                            " have " + std::to_string(table.rows.size()) + " and " + std::to_string(stored.rows) +
                            " rows");
    }
    const auto fill = [&](const auto& values) {
      for (std::size_t row = 0; row < values.size(); ++row) table.rows[row][c] = values[row];
    };
    switch (column.type) {
      case Column::Type::integer:
        fill(stored.numbers<std::int64_t>(H5T_NATIVE_INT64));
        break;
      case Column::Type::real:
        fill(stored.numbers<double>(H5T_NATIVE_DOUBLE));
        break;
      case Column::Type::text:
        fill(stored.texts());
        break;
    }
  }
}

Provenance read_provenance(hid_t file, const std::string& path) {
  const Hdf5Id group = open_group(file, "provenance", path);
  const std::int64_t version = read_integer_attribute(group, "schema_version", path);
  if (version != schema_version) {
    reject_file(path, "its schema is version " + std::to_string(version) + ", this program reads version " +
                          std::to_string(schema_version));
  }
  Provenance provenance;
  provenance.program_version = read_text_attribute(group, "program_version", path);
  provenance.git_commit = read_text_attribute(group, "git_commit", path);
  provenance.config = read_text_attribute(group, "config", path);
  provenance.date = read_text_attribute(group, "date", path);
  provenance.seed = read_integer_attribute(group, "seed", path);
  provenance.ranks = read_integer_attribute(group, "ranks", path);
  provenance.devices = StoredColumn(group, "provenance", "devices", H5T_STRING, path).texts();
  return provenance;
}

bool has_type(const Value& value, Column::Type type) {
  return value.index() == (type == Column::Type::integer ? 0u : type == Column::Type::real ? 1u : 2u);
}

}  // namespace

void Table::add(std::vector<Value> row) {
  if (row.size() != columns.size()) {
    throw Error("cannot add a row to table '" + name + "'",
                "it has " + std::to_string(row.size()) + " values for " + std::to_string(columns.size()) + " columns",
                "give one value per column");
  }
  for (std::size_t c = 0; c < row.size(); ++c) {
    if (!has_type(row[c], columns[c].type)) {
      throw Error("cannot add a row to table '" + name + "'",
                  "the value of column '" + columns[c].name + "' has the wrong type",
                  "give the type that the schema says");
    }
  }
  rows.push_back(std::move(row));
}

int Table::column(const std::string& column_name) const {
  for (std::size_t c = 0; c < columns.size(); ++c) {
    if (columns[c].name == column_name) return int(c);
  }
  throw Error("cannot read table '" + name + "'", "it has no column '" + column_name + "'", "use one of its columns");
}

double Table::number(std::size_t row, const std::string& column_name) const {
  const Value& value = rows.at(row)[std::size_t(column(column_name))];
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return double(*whole);
  if (const auto* fraction = std::get_if<double>(&value)) return *fraction;
  throw Error("cannot read table '" + name + "'", "column '" + column_name + "' holds text", "read it as text");
}

const std::string& Table::text(std::size_t row, const std::string& column_name) const {
  const Value& value = rows.at(row)[std::size_t(column(column_name))];
  if (const auto* content = std::get_if<std::string>(&value)) return *content;
  throw Error("cannot read table '" + name + "'", "column '" + column_name + "' holds numbers", "read it as a number");
}

Results::Results()
    : layers(layers_table()),
      sensitivity(sensitivity_table()),
      evaluations(evaluations_table()),
      assignments(assignments_table()),
      front(front_table()),
      accelerators(accelerators_table()),
      emulation(emulation_table()),
      summary(summary_table()),
      skipped(skipped_table()) {}

std::vector<Table*> Results::tables() {
  return {&layers, &sensitivity, &evaluations, &assignments, &front, &accelerators, &emulation, &summary, &skipped};
}

std::vector<const Table*> Results::tables() const {
  return {&layers, &sensitivity, &evaluations, &assignments, &front, &accelerators, &emulation, &summary, &skipped};
}

std::vector<std::string> models_of(const Results& results) {
  std::vector<std::string> models;
  for (const Table* table : results.tables()) {
    if (table == &results.accelerators || table == &results.summary) continue;
    for (std::size_t row = 0; row < table->rows.size(); ++row) {
      const std::string& model = table->text(row, "model");
      if (std::find(models.begin(), models.end(), model) == models.end()) models.push_back(model);
    }
  }
  return models;
}

void check_writable(const std::string& path) {
  const auto reject = [&](const std::string& why) {
    throw Error("cannot write '" + path + "'", why, "name an output file in a folder that exists and is writable");
  };
  if (path.empty()) reject("the name is empty");
  if (std::filesystem::is_directory(path)) reject("it is a folder");
  const std::string folder = folder_of(path);
  struct stat status;
  if (::stat(folder.c_str(), &status) != 0) reject("folder '" + folder + "': " + system_reason());
  if (!S_ISDIR(status.st_mode)) reject("'" + folder + "' is not a folder");
  // permission bits do not tell the truth for root, on read-only and on network file systems: try it
  const std::string probe = partial_name(path);
  const Descriptor file(probe, O_WRONLY | O_CREAT | O_TRUNC);
  if (file.id() < 0) reject("folder '" + folder + "': " + system_reason());
  ::unlink(probe.c_str());
}

void write_results(const std::string& path, const Results& results) {
  check_writable(path);
  silence_hdf5();
  const std::vector<char> bytes = file_image(results);
  const std::string partial = partial_name(path);
  if (!write_synced(partial, bytes) || ::rename(partial.c_str(), path.c_str()) != 0) {
    const std::string reason = system_reason();
    ::unlink(partial.c_str());
    fail_to_write(path, reason);
  }
  if (!sync_folder(folder_of(path))) fail_to_write(path, system_reason());
}

Results read_results(const std::string& path) {
  std::error_code failure;
  if (!std::filesystem::exists(path, failure)) reject_file(path, "there is no such file");
  const Hdf5Id file = open_hdf5(path);
  Results results;
  results.provenance = read_provenance(file, path);
  for (Table* table : results.tables()) read_table(file, path, *table);
  return results;
}

void append_rows(Results& to, const Results& from) {
  const std::vector<Table*> tables = to.tables();
  const std::vector<const Table*> others = from.tables();
  for (std::size_t t = 0; t < tables.size(); ++t) {
    if (tables[t] == &to.accelerators) continue;
    tables[t]->rows.insert(tables[t]->rows.end(), others[t]->rows.begin(), others[t]->rows.end());
  }
}

Results merge_results(const std::vector<std::string>& paths) {
  Results merged = read_results(paths.at(0));
  std::map<std::string, std::string> file_of;  // by model
  for (const std::string& path : paths) {
    const bool first = &path == &paths[0];
    Results part = first ? merged : read_results(path);
    const auto reject = [&](const std::string& what, const std::string& other, const std::string& what_to_do) {
      throw Error("cannot merge '" + path + "' with '" + other + "'", what, what_to_do);
    };
    const Provenance &own = part.provenance, &common = merged.provenance;
    if (own.program_version != common.program_version || own.git_commit != common.git_commit) {
      reject("they were made by bitcluster " + own.program_version + " (" + own.git_commit + ") and " +
                 common.program_version + " (" + common.git_commit + ")",
             paths[0], "make them with the same program");
    }
    if (own.config != common.config) {
      reject("their configs differ", paths[0], "make them from one config, each with other models (--model)");
    }
    for (const std::string& model : models_of(part)) {
      const auto [place, is_new] = file_of.try_emplace(model, path);
      if (!is_new) reject("both have the model '" + model + "'", place->second, "give every model once");
    }
    if (first) continue;
    for (const auto& row : part.accelerators.rows) {
      const auto known = std::find_if(merged.accelerators.rows.begin(), merged.accelerators.rows.end(),
                                      [&](const auto& other) { return row[0] == other[0] && row[1] == other[1]; });
      if (known == merged.accelerators.rows.end()) {
        merged.accelerators.rows.push_back(row);
      } else if (*known != row) {
        reject("the accelerator '" + std::get<std::string>(row[1]) + "' is not the same in both", paths[0],
               "make them with the same accelerator files");
      }
    }
    append_rows(merged, part);
    merged.provenance.ranks += own.ranks;
    merged.provenance.devices.insert(merged.provenance.devices.end(), own.devices.begin(), own.devices.end());
    merged.provenance.date = std::max(common.date, own.date);
  }
  merged.summary.rows.clear();
  return merged;
}

}  // namespace bitcluster
