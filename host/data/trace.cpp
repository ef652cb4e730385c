#include "host/data/trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>
#include <optional>

#include "host/base/checked_product.hpp"
#include "host/base/error.hpp"
#include "host/emulation/operands.hpp"

namespace bitcluster {
namespace {

/// Where in the file something is wrong.
struct Place {
  std::string path, layer;

  std::string of(const std::string& what) const {
    return "'" + path + "'" + (layer.empty() ? "" : ": layer '" + layer + "'") + (what.empty() ? "" : ": " + what);
  }
  [[noreturn]] void reject(const std::string& what, const std::string& why, const std::string& what_to_do) const {
    throw Error(of(what), why, what_to_do);
  }
};

Hdf5Id open_layers(const Place& place, hid_t file) {
  if (!has_member(file, "layers")) {
    place.reject("/layers", "there is no such group", "put one group per layer into it");
  }
  return open_group(file, "layers", place.of("/layers"));
}

Hdf5Id open_layer(const Place& place, hid_t layers) { return open_group(layers, place.layer, place.of("")); }

/// Names of the links in a group, in the order of their bytes.
std::vector<std::string> link_names(const Place& place, hid_t group) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  hdf5_check(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names), place.of("/layers"));
  std::sort(names.begin(), names.end());
  return names;
}

std::string shape_text(const std::vector<std::int64_t>& shape) { return fmt::format("({})", fmt::join(shape, ", ")); }

/// Values of one tensor: as int16 they take 16 GiB.
constexpr std::uint64_t most_of_tensor = std::uint64_t(1) << 33;

/// An open dataset of integers. Its values are read when asked for and not kept.
class Tensor {
 public:
  /// Nothing if the group has no dataset of this name. Error if it is no tensor of integers.
  static std::optional<Tensor> find(const Place& place, hid_t group, const std::string& name) {
    if (!has_member(group, name)) return std::nullopt;
    return Tensor(place, group, name);
  }

  Tensor(const Place& place, hid_t group, const std::string& name)
      : place_(place), name_(name), dataset_(group, name, place.of(name)) {
    if (dataset_.type_class() != H5T_INTEGER) place.reject(name, "its values are not integers", "store it as int32");
    const std::vector<hsize_t>& extents = dataset_.extents();
    if (extents.size() != 2 && extents.size() != 4) {
      place.reject(name, fmt::format("it has {} dimensions", extents.size()), "give it 4, or 2 for a fc layer");
    }
    for (const hsize_t extent : extents) {
      if (extent < 1 || extent > hsize_t(std::numeric_limits<std::int32_t>::max())) {
        place.reject(name, fmt::format("its shape ({}) has an extent out of range", fmt::join(extents, ", ")),
                     "use 1 or more");
      }
      shape_.push_back(std::int64_t(extent));
    }
    const auto size = checked_product(shape_, most_of_tensor);
    if (!size) place.reject(name, shape_text(shape_) + " are more than 2^33 values", "split the trace");
    slice_ = std::int64_t(*size) / shape_[0];
    if (slice_ > std::numeric_limits<std::int32_t>::max()) {
      place.reject(name, fmt::format("one filter or image of {} has {} values", shape_text(shape_), slice_),
                   "split the layer: at most 2^31 - 1 are possible");
    }
  }

  const std::vector<std::int64_t>& shape() const { return shape_; }
  std::int64_t slice() const { return slice_; }  //!< values of one filter or image

  /// The values of `count` filters or images. Error if one is outside -32767..32767.
  std::vector<std::int16_t> read(std::int64_t first, std::int64_t count) const {
    // HDF5 saturates what does not fit, and says so to this function only.
    bool fits = true;
    const auto note = [](H5T_conv_except_t, hid_t, hid_t, void*, void*, void* flag) {
      *static_cast<bool*>(flag) = false;
      return H5T_CONV_UNHANDLED;
    };
    const Hdf5Id transfer(H5Pcreate(H5P_DATASET_XFER), H5Pclose, place_.of(name_));
    hdf5_check(H5Pset_type_conv_cb(transfer, note, &fits), place_.of(name_));
    // Between types of one size and two byte orders HDF5 1.10 ignores the sign, so unsigned values stay unsigned; those
    // beyond 32767 are negative in `values`.
    const bool is_unsigned = dataset_.is_unsigned();
    std::vector<std::int16_t> values(static_cast<std::size_t>(count * slice_));
    dataset_.read(is_unsigned ? H5T_NATIVE_UINT16 : H5T_NATIVE_INT16, first, count, values.data(), transfer);
    if (!fits || *std::min_element(values.begin(), values.end()) < (is_unsigned ? 0 : -32767)) {
      place_.reject(name_, "a value is outside -32767..32767", "quantize the tensor to 16 bits or fewer");
    }
    return values;
  }

  std::vector<std::int16_t> read_all() const { return read(0, shape_[0]); }

 private:
  Place place_;
  std::string name_;
  Hdf5Dataset dataset_;
  std::vector<std::int64_t> shape_;
  std::int64_t slice_ = 0;
};

std::string read_kind(const Place& place, hid_t group) {
  const std::string what_to_do = "set it to \"conv\" or \"fc\"";
  const auto attribute = Hdf5Attribute::find(group, "kind", place.of("kind"));
  if (!attribute) place.reject("kind", "this attribute is missing", what_to_do);
  const std::string kind = attribute->text();
  if (kind != "conv" && kind != "fc") place.reject("kind", "'" + kind + "' is not a kind of layer", what_to_do);
  return kind;
}

/// Integers of an attribute, scalar or one-dimensional, as many as one of `counts`; `otherwise` if there is none.
std::vector<int> read_integers(const Place& place, hid_t group, const std::string& name, std::vector<int> counts,
                               int lowest, std::vector<int> otherwise) {
  const auto attribute = Hdf5Attribute::find(group, name, place.of(name));
  if (!attribute) return otherwise;
  const std::vector<std::int64_t> values = attribute->integers();
  if (std::find(counts.begin(), counts.end(), int(values.size())) == counts.end()) {
    place.reject(name, fmt::format("it is not {} whole numbers", fmt::join(counts, " or ")), "correct this attribute");
  }
  for (const std::int64_t value : values) {
    if (value < lowest || value > 65535) {
      place.reject(name, fmt::format("{} is out of range", value), fmt::format("use a value from {} to 65535", lowest));
    }
  }
  return std::vector<int>(values.begin(), values.end());
}

/// A misspelled attribute would else silently take its default.
void check_attributes(const Place& place, hid_t group) {
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5A_info_t*, void* list) -> herr_t {
    static_cast<std::vector<std::string>*>(list)->push_back(name);
    return 0;
  };
  hdf5_check(H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names), place.of("attributes"));
  const std::vector<std::string> known = {"kind", "stride", "padding", "dilation", "groups", "input"};
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      place.reject(name, "there is no such attribute", "use kind, stride, padding, dilation, groups, input");
    }
  }
}

int output_extent(const Place& place, std::int64_t input, int kernel, int stride, int dilation, int pads) {
  const std::int64_t span = std::int64_t(dilation) * (kernel - 1) + 1, padded = input + pads;
  if (padded < span) {
    place.reject("", "the kernel is larger than the padded input", "correct the shapes, padding or dilation");
  }
  if (padded > std::numeric_limits<std::int32_t>::max()) {
    place.reject("", fmt::format("its padded input has an extent of {}", padded), "split the trace");
  }
  return int((padded - span) / stride + 1);
}

/// Error if the layer's output, or its input behind its padding, is larger than what a small file may ask for: what
/// emulates it walks over all of the one and keeps the other in memory, two bytes per value.
void check_size(const Place& place, const LayerGeometry& geometry, bool has_activations) {
  constexpr std::uint64_t most_of_padding = std::uint64_t(1) << 28;  // with its image 512 MiB, if that is a small one
  const Window& window = geometry.window;
  const Shape &input = geometry.input, &output = geometry.output;
  const auto check = [&](const std::string& what, const std::array<std::int64_t, 3>& extents, std::uint64_t most) {
    if (checked_product(extents, most)) return;
    place.reject("", fmt::format("its {} has {} values, more than {}", what, fmt::join(extents, " x "), most),
                 "correct the shapes or padding, or split the layer");
  };
  check("output", {output.channels, output.height, output.width}, most_of_tensor);
  check("input with its padding",
        {input.channels, std::int64_t(input.height) + window.pad_top + window.pad_bottom,
         std::int64_t(input.width) + window.pad_left + window.pad_right},
        has_activations ? std::max(most_of_padding, 4 * std::uint64_t(input.size())) : most_of_tensor);
}

/// Fills in what follows from the shapes; kind and groups are there.
void complete_geometry(const Place& place, hid_t group, const Tensor& weights, const std::optional<Tensor>& activations,
                       LayerGeometry& geometry) {
  const std::vector<std::int64_t>& shape = weights.shape();
  if (!geometry.fully_connected && shape.size() != 4) {
    place.reject("weights", shape_text(shape) + " is not the shape of a conv layer", "give it 4 dimensions");
  }
  if (activations && !geometry.fully_connected && activations->shape().size() != 4) {
    place.reject("activations", shape_text(activations->shape()) + " is not the input of a conv layer",
                 "give it 4 dimensions: (images, channels, h, w)");
  }
  geometry.filters = int(shape[0]);
  if (geometry.fully_connected) {
    if (geometry.groups != 1) place.reject("groups", "a fc layer has no groups", "remove the attribute or set it to 1");
    const std::int64_t values = weights.slice();
    geometry.input = {int(values), 1, 1};
    geometry.output = {geometry.filters, 1, 1};
    if (activations && activations->slice() != values) {
      place.reject("activations", shape_text(activations->shape()) + " does not fit weights " + shape_text(shape),
                   fmt::format("give {} values per image", values));
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
    const auto channels =
        checked_product(std::array{shape[1], std::int64_t(geometry.groups)}, std::numeric_limits<std::int32_t>::max());
    if (!channels) {
      place.reject("groups", fmt::format("{} of {} channels each are too many", geometry.groups, shape[1]),
                   "correct groups or the shape of the weights");
    }
    geometry.input.channels = int(*channels);
    if (geometry.filters % geometry.groups) {
      place.reject("groups", fmt::format("{} filters do not divide into them", geometry.filters), "correct groups");
    }
    if (activations) {
      const std::vector<std::int64_t>& extents = activations->shape();
      if (extents[1] != geometry.input.channels) {
        place.reject("activations",
                     fmt::format("{} does not fit weights {} in {} groups", shape_text(extents), shape_text(shape),
                                 geometry.groups),
                     fmt::format("give {} channels", geometry.input.channels));
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
  check_size(place, geometry, activations.has_value());
}

TraceLayer read_layer(const Place& place, hid_t layers) {
  const Hdf5Id group = open_layer(place, layers);
  check_attributes(place, group);
  TraceLayer layer;
  layer.geometry.name = place.layer;
  layer.geometry.fully_connected = read_kind(place, group) == "fc";
  layer.geometry.groups = read_integers(place, group, "groups", {1}, 1, {1})[0];
  const std::optional<Tensor> weights = Tensor::find(place, group, "weights");
  if (!weights) place.reject("weights", "there is no such dataset", "add it: (filters, channels / groups, ky, kx)");
  const std::optional<Tensor> activations = Tensor::find(place, group, "activations");
  complete_geometry(place, group, *weights, activations, layer.geometry);
  layer.weight_format = observed_format(weights->read_all(), Encoding::binary);
  if (!activations) return layer;
  constexpr std::int64_t most_images = 1 << 20;  // about those of ImageNet, one by one some 10 s
  if (activations->shape()[0] > most_images) {
    place.reject("activations", fmt::format("they are of {} images", activations->shape()[0]),
                 fmt::format("give {} or fewer", most_images));
  }
  layer.images = int(activations->shape()[0]);
  unsigned all = 0;
  for (int image = 0; image < layer.images; ++image) {
    for (const std::int16_t value : activations->read(image, 1)) {
      all |= unsigned(std::abs(int(value)));
      layer.activations_signed |= value < 0;
    }
  }
  layer.activation_bits = std::max(8, int(std::bit_width(all)) + (layer.activations_signed ? 1 : 0));
  return layer;
}

}  // namespace

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

Trace::Trace(const std::string& path) : path_(path), file_(open_hdf5(path)) {
  const Place place{path, ""};
  const Hdf5Id layers = open_layers(place, file_);
  for (const std::string& name : link_names(place, layers)) layers_.push_back(read_layer({path, name}, layers));
  if (layers_.empty()) place.reject("/layers", "it holds no layers", "put one group per layer into it");
}

LayerTensors Trace::tensors(int layer, int image) {
  const TraceLayer& of = layers_[layer];
  if (layer != latest_layer_ || image != latest_image_) {
    const Place place{path_, of.geometry.name};
    const Hdf5Id group = open_layer(place, open_layers(place, file_));
    if (layer != latest_layer_) weights_ = Tensor(place, group, "weights").read_all();
    latest_layer_ = layer;
    latest_image_ = -1;  // until its activations are there
    activations_.clear();
    if (of.images > 0) activations_ = Tensor(place, group, "activations").read(image, 1);
    latest_image_ = image;
  }
  return {of.geometry, weights_, of.weight_format, activations_, of.activation_bits, of.activations_signed};
}

}  // namespace bitcluster
