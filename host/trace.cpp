#include "host/trace.hpp"

#include <hdf5.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <utility>

#include "host/designs.hpp"
#include "host/error.hpp"

namespace bitcluster {
namespace {

/// An HDF5 identifier that closes itself.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  bool valid() const { return id_ >= 0; }

 private:
  hid_t id_;
  Close close_;
};

/// Where in the file something is wrong.
struct Place {
  std::string path, layer;

  [[noreturn]] void reject(const std::string& what, const std::string& why, const std::string& what_to_do) const {
    const std::string where = layer.empty() ? "" : ": layer '" + layer + "'";
    throw Error("'" + path + "'" + where + (what.empty() ? "" : ": " + what), why, what_to_do);
  }
};

/// Keeps HDF5 from printing its own error stack; the errors here say more.
class QuietHdf5 {
 public:
  QuietHdf5() {
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// Names of the links in a group, in the order of their bytes.
std::vector<std::string> link_names(const Place& place, hid_t group) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names) < 0) {
    place.reject("/layers", "it cannot be listed", "check that the file is not damaged");
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct Tensor {
  std::vector<std::int64_t> shape;
  std::vector<std::int16_t> values;
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + ")";
}

/// A dataset of integers within int16; nothing if there is none of this name.
std::optional<Tensor> read_tensor(const Place& place, hid_t group, const std::string& name) {
  if (H5Lexists(group, name.c_str(), H5P_DEFAULT) <= 0) return std::nullopt;
  const Handle dataset(H5Dopen2(group, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (!dataset.valid()) place.reject(name, "it is not a dataset", "store it as a dataset of integers");
  const Handle type(H5Dget_type(dataset), H5Tclose);
  if (H5Tget_class(type) != H5T_INTEGER) place.reject(name, "its values are not integers", "store it as int32");
  const Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank != 2 && rank != 4) {
    place.reject(name, "it has " + std::to_string(std::max(rank, 0)) + " dimensions", "give it 4, or 2 for a fc layer");
  }
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  Tensor tensor;
  std::int64_t size = 1;
  for (const hsize_t extent : extents) {
    tensor.shape.push_back(std::int64_t(extent));
    if (extent < 1 || extent > hsize_t(std::numeric_limits<std::int32_t>::max())) {
      place.reject(name, "its shape " + shape_text(tensor.shape) + "... has an extent out of range", "use 1 or more");
    }
    size *= std::int64_t(extent);
    if (size > (std::int64_t(1) << 33)) place.reject(name, "it has more than 2^33 values", "split the trace");
  }
  // HDF5 saturates what does not fit int32, so the check below still sees it.
  std::vector<std::int32_t> values(static_cast<std::size_t>(size));
  if (H5Dread(dataset, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) {
    place.reject(name, "it cannot be read", "check that the file is complete");
  }
  tensor.values.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] < -32767 || values[i] > 32767) {
      place.reject(name, "a value is outside -32767..32767", "quantize the tensor to 16 bits or fewer");
    }
    tensor.values[i] = std::int16_t(values[i]);
  }
  return tensor;
}

std::string read_kind(const Place& place, hid_t group) {
  const std::string what_to_do = "set it to \"conv\" or \"fc\"";
  if (H5Aexists(group, "kind") <= 0) place.reject("kind", "this attribute is missing", what_to_do);
  const Handle attribute(H5Aopen(group, "kind", H5P_DEFAULT), H5Aclose);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1) {
    place.reject("kind", "it is not one text", what_to_do);
  }
  std::string kind;
  if (H5Tis_variable_str(type) > 0) {
    char* text = nullptr;
    const Handle memory(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(memory, H5T_VARIABLE);
    H5Tset_cset(memory, H5Tget_cset(type));
    if (H5Aread(attribute, memory, &text) < 0) place.reject("kind", "it cannot be read", what_to_do);
    if (text) kind = text;
    H5free_memory(text);
  } else {
    kind.resize(H5Tget_size(type));
    if (H5Aread(attribute, type, kind.data()) < 0) place.reject("kind", "it cannot be read", what_to_do);
    kind.resize(std::min(kind.find('\0'), kind.size()));
    while (!kind.empty() && kind.back() == ' ') kind.pop_back();  // space-padded strings
  }
  if (kind != "conv" && kind != "fc") place.reject("kind", "'" + kind + "' is not a kind of layer", what_to_do);
  return kind;
}

/// Integers of an attribute, scalar or one-dimensional, as many as one of `counts`; `otherwise` if there is none.
std::vector<int> read_integers(const Place& place, hid_t group, const std::string& name, std::vector<int> counts,
                               int lowest, std::vector<int> otherwise) {
  if (H5Aexists(group, name.c_str()) <= 0) return otherwise;
  const Handle attribute(H5Aopen(group, name.c_str(), H5P_DEFAULT), H5Aclose);
  const Handle type(H5Aget_type(attribute), H5Tclose);
  const Handle space(H5Aget_space(attribute), H5Sclose);
  const auto count = H5Sget_simple_extent_npoints(space);
  if (H5Tget_class(type) != H5T_INTEGER || std::find(counts.begin(), counts.end(), int(count)) == counts.end()) {
    std::string wanted;
    for (const int c : counts) wanted += (wanted.empty() ? "" : " or ") + std::to_string(c);
    place.reject(name, "it is not " + wanted + " whole numbers", "correct this attribute");
  }
  std::vector<int> values(static_cast<std::size_t>(count));
  if (H5Aread(attribute, H5T_NATIVE_INT, values.data()) < 0) {
    place.reject(name, "it cannot be read", "check that the file is complete");
  }
  for (const int value : values) {
    if (value < lowest || value > 65535) {
      place.reject(name, std::to_string(value) + " is out of range",
                   "use a value from " + std::to_string(lowest) + " to 65535");
    }
  }
  return values;
}

/// A misspelled attribute would else silently take its default.
void check_attributes(const Place& place, hid_t group) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names);
  const std::vector<std::string> known = {"kind", "stride", "padding", "dilation", "groups", "input"};
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      place.reject(name, "there is no such attribute", "use kind, stride, padding, dilation, groups, input");
    }
  }
}

int output_extent(const Place& place, int input, int kernel, int stride, int dilation, int pads) {
  const std::int64_t span = std::int64_t(dilation) * (kernel - 1) + 1;
  if (std::int64_t(input) + pads < span) {
    place.reject("", "the kernel is larger than the padded input", "correct the shapes, padding or dilation");
  }
  return int((input + pads - span) / stride + 1);
}

TraceLayer read_layer(Place place, hid_t layers, const std::string& name) {
  place.layer = name;
  const Handle group(H5Gopen2(layers, name.c_str(), H5P_DEFAULT), H5Gclose);
  if (!group.valid()) place.reject("", "it is not a group", "make a group with the dataset weights");
  check_attributes(place, group);
  TraceLayer layer;
  LayerGeometry& geometry = layer.geometry;
  geometry.name = name;
  geometry.fully_connected = read_kind(place, group) == "fc";
  geometry.groups = read_integers(place, group, "groups", {1}, 1, {1})[0];

  std::optional<Tensor> weights = read_tensor(place, group, "weights");
  if (!weights) place.reject("weights", "there is no such dataset", "add it: (filters, channels / groups, ky, kx)");
  std::optional<Tensor> activations = read_tensor(place, group, "activations");
  const std::vector<std::int64_t>& shape = weights->shape;
  if (!geometry.fully_connected && shape.size() != 4) {
    place.reject("weights", shape_text(shape) + " is not the shape of a conv layer", "give it 4 dimensions");
  }
  if (activations && !geometry.fully_connected && activations->shape.size() != 4) {
    place.reject("activations", shape_text(activations->shape) + " is not the input of a conv layer",
                 "give it 4 dimensions: (images, channels, h, w)");
  }
  geometry.filters = int(shape[0]);
  if (geometry.filters % geometry.groups) {
    place.reject("groups", std::to_string(geometry.filters) + " filters do not divide into them", "correct groups");
  }

  if (geometry.fully_connected) {
    if (geometry.groups != 1) place.reject("groups", "a fc layer has no groups", "remove the attribute or set it to 1");
    const std::int64_t values = std::int64_t(weights->values.size()) / geometry.filters;
    geometry.input = {int(values), 1, 1};
    geometry.output = {geometry.filters, 1, 1};
    if (activations && std::int64_t(activations->values.size()) / activations->shape[0] != values) {
      place.reject("activations", shape_text(activations->shape) + " does not fit weights " + shape_text(shape),
                   "give " + std::to_string(values) + " values per image");
    }
  } else {
    Window& window = geometry.window;
    window.kernel_h = int(shape[2]);
    window.kernel_w = int(shape[3]);
    const std::vector<int> stride = read_integers(place, group, "stride", {1, 2}, 1, {1});
    window.stride_h = stride.front();
    window.stride_w = stride.back();
    const std::vector<int> dilation = read_integers(place, group, "dilation", {1, 2}, 1, {1});
    window.dilation_h = dilation.front();
    window.dilation_w = dilation.back();
    const std::vector<int> padding = read_integers(place, group, "padding", {1, 2, 4}, 0, {0});
    window.pad_top = padding[0];
    window.pad_left = padding.size() == 1 ? padding[0] : padding[1];
    window.pad_bottom = padding.size() == 4 ? padding[2] : window.pad_top;
    window.pad_right = padding.size() == 4 ? padding[3] : window.pad_left;

    const std::vector<int> input = read_integers(place, group, "input", {2}, 1, {});
    geometry.input.channels = int(shape[1]) * geometry.groups;
    if (activations) {
      const std::vector<std::int64_t>& extents = activations->shape;
      if (extents[1] != geometry.input.channels) {
        place.reject("activations",
                     shape_text(extents) + " does not fit weights " + shape_text(shape) + " in " +
                         std::to_string(geometry.groups) + " groups",
                     "give " + std::to_string(geometry.input.channels) + " channels");
      }
      if (!input.empty() && (input[0] != extents[2] || input[1] != extents[3])) {
        place.reject("input", "it differs from the activations " + shape_text(extents), "remove one of them");
      }
      geometry.input.height = int(extents[2]);
      geometry.input.width = int(extents[3]);
    } else if (!input.empty()) {
      geometry.input.height = input[0];
      geometry.input.width = input[1];
    } else {
      place.reject("activations", "there are none, so the size of the layer's input is unknown",
                   "add them, or the attribute input = (h, w)");
    }
    geometry.output = {geometry.filters,
                       output_extent(place, geometry.input.height, window.kernel_h, window.stride_h, window.dilation_h,
                                     window.pad_top + window.pad_bottom),
                       output_extent(place, geometry.input.width, window.kernel_w, window.stride_w, window.dilation_w,
                                     window.pad_left + window.pad_right)};
  }

  layer.weights = std::move(weights->values);
  layer.weight_format = observed_format(layer.weights, Encoding::binary);
  if (activations) {
    layer.images = int(activations->shape[0]);
    layer.activations = std::move(activations->values);
    unsigned all = 0;
    for (const std::int16_t value : layer.activations) {
      all |= unsigned(std::abs(int(value)));
      layer.activations_signed |= value < 0;
    }
    layer.activation_bits = std::max(8, int(std::bit_width(all)) + (layer.activations_signed ? 1 : 0));
  }
  return layer;
}

}  // namespace

LayerTensors TraceLayer::tensors(int image) const {
  LayerTensors tensors;
  tensors.geometry = geometry;
  tensors.weights = weights;
  tensors.weight_format = weight_format;
  tensors.activation_bits = activation_bits;
  tensors.activations_signed = activations_signed;
  if (images > 0) {
    tensors.activations = std::span<const std::int16_t>(activations)
                              .subspan(std::size_t(image) * geometry.input.size(), geometry.input.size());
  }
  return tensors;
}

WeightFormat observed_format(std::span<const std::int16_t> weights, Encoding encoding) {
  std::vector<bool> seen(std::size_t(32769), false);
  for (const std::int16_t weight : weights) seen[std::size_t(std::abs(int(weight)))] = true;
  WeightFormat format;
  format.encoding = encoding;
  format.bits = 4;
  format.terms = 1;
  for (std::uint32_t magnitude = 1; magnitude < seen.size(); ++magnitude) {
    if (!seen[magnitude]) continue;
    format.bits = std::max(format.bits, 1 + int(std::bit_width(magnitude)));
    format.terms = std::max(format.terms, std::popcount(terms_of(encoding, magnitude).positions()));
  }
  return format;
}

Trace read_trace(const std::string& path) {
  const QuietHdf5 quiet;
  const Place place{path, ""};
  if (!std::filesystem::is_regular_file(path)) place.reject("", "there is no such file", "check the path");
  const Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file.valid()) place.reject("", "it is not a readable HDF5 file", "write it with h5py or the HDF5 library");
  if (H5Lexists(file, "layers", H5P_DEFAULT) <= 0) {
    place.reject("/layers", "there is no such group", "put one group per layer into it");
  }
  const Handle layers(H5Gopen2(file, "layers", H5P_DEFAULT), H5Gclose);
  if (!layers.valid()) place.reject("/layers", "it is not a group", "put one group per layer into it");
  Trace trace;
  for (const std::string& name : link_names(place, layers)) trace.layers.push_back(read_layer(place, layers, name));
  if (trace.layers.empty()) place.reject("/layers", "it holds no layers", "put one group per layer into it");
  return trace;
}

}  // namespace bitcluster
