#include "host/onnx/import.hpp"

#include <google/protobuf/stubs/logging.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "host/base/error.hpp"
#include "host/model/simplify.hpp"
#include "host/onnx/constant.hpp"
#include "host/onnx/node.hpp"
#include "host/onnx/rearrange.hpp"

namespace bitcluster {
namespace {

const char* const export_again = "export the model again";

/// Elements that one tensor of one image may have; the largest of the six ImageNet models has 3.2 million.
constexpr std::int64_t activation_limit = std::int64_t(1) << 26;
/// Bound on batch sizes, kernels, strides and pads; beyond it a file is damaged.
constexpr std::int64_t extent_limit = 65536;
/// Older operator sets give the same operators other meanings (axis attributes of Add, Gemm, BatchNormalization).
constexpr int oldest_opset = 7;

/// What a tensor of the graph is for one image: elements of a layer's output, moved. Movements are made real, as
/// Rearrange layers, only where an operation needs them, so that chains of them become one layer or none.
struct Tensor {
  int layer = 0;
  ElementMap elements;  //!< dims[0] is the batch, here 1
  std::string name;     //!< of the node that moved the elements
  bool softmax = false;
};

using Value = std::variant<Constant, Tensor>;

/// (c, h, w) of a tensor of any rank.
Shape shape_of(const Dims& dims) {
  Shape shape{dims.size() > 1 ? int(dims[1]) : 1, dims.size() > 2 ? int(dims[2]) : 1, 1};
  if (dims.size() == 4) shape.width = int(dims[3]);
  if (dims.size() > 4) shape.height = int(element_count(dims) / shape.channels);
  return shape;
}

Dims dims_of(const Shape& shape) { return {1, shape.channels, shape.height, shape.width}; }

class Importer {
 public:
  Importer(onnx::ModelProto& model, const std::string& path) : graph_(*model.mutable_graph()), path_(path) {
    network_.name = std::filesystem::path(path).stem().string();
    for (const auto& opset : model.opset_import()) {
      if (opset.domain().empty() || opset.domain() == "ai.onnx") {
        opset_ = int(std::clamp<std::int64_t>(opset.version(), 0, extent_limit));
      }
    }
  }

  Network run() {
    if (opset_ < oldest_opset) {
      fail("its operator set is version " + std::to_string(opset_),
           "export it with opset " + std::to_string(oldest_opset) + " or later (13 is well tried)");
    }
    for (auto& tensor : *graph_.mutable_initializer()) {
      if (!initializers_.emplace(tensor.name(), &tensor).second) fail_twice(tensor.name());
    }
    if (graph_.sparse_initializer_size() > 0) fail("it has sparse weights", "store its weights densely");
    if (graph_.output_size() != 1) {
      fail("it has " + std::to_string(graph_.output_size()) + " outputs", "export it with the logits as only output");
    }
    add_input();
    const std::vector<bool> needed = needed_nodes();
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (needed[std::size_t(i)]) import(graph_.node(i));
    }
    const auto found = values_.find(graph_.output(0).name());
    if (found == values_.end() || !std::holds_alternative<Tensor>(found->second)) {
      fail("its output '" + graph_.output(0).name() + "' does not depend on its input", export_again);
    }
    Tensor& output = std::get<Tensor>(found->second);
    // (c, 1, 1) and (1, c, 1) hold the same logits
    if (!in_order(output)) make_real(output, shape_of(output.elements.dims));
    Network network = simplify(std::move(network_), output.layer, affine_);
    validate(network);
    return network;
  }

 private:
  [[noreturn]] void fail(const std::string& why, const std::string& what_to_do) const {
    throw Error("cannot import '" + path_ + "'", why, what_to_do);
  }

  [[noreturn]] void fail_twice(const std::string& tensor) const {
    fail("tensor '" + tensor + "' is defined twice", export_again);
  }

  // ---- the graph

  void add_input() {
    std::vector<const onnx::ValueInfoProto*> inputs;
    std::string names;
    for (const auto& input : graph_.input()) {
      if (initializers_.count(input.name())) continue;
      inputs.push_back(&input);
      names += (names.empty() ? "'" : ", '") + input.name() + "'";
    }
    if (inputs.size() != 1) {
      fail(inputs.empty() ? "it has no input" : "it has several inputs (" + names + ")",
           "export it with one image as input");
    }
    const std::string& name = inputs[0]->name();
    const auto& type = inputs[0]->type().tensor_type();
    if (type.elem_type() != onnx::TensorProto::FLOAT && type.elem_type() != onnx::TensorProto::FLOAT16 &&
        type.elem_type() != onnx::TensorProto::DOUBLE) {
      fail("its input '" + name + "' is not of a float type", "export it with a float input");
    }
    const int rank = type.shape().dim_size();
    if (rank != 4 && rank != 2) {
      fail("its input '" + name + "' has rank " + std::to_string(rank),
           "use (batch, channels, height, width) or (batch, channels)");
    }
    Dims dims = {1};
    for (int i = 1; i < rank; ++i) {
      const auto& dim = type.shape().dim(i);
      if (!dim.has_dim_value() || dim.dim_value() < 1 || dim.dim_value() > extent_limit) {
        fail("extent " + std::to_string(i) + " of its input '" + name + "' is " +
                 (dim.has_dim_value() ? std::to_string(dim.dim_value()) : "open"),
             "export it with fixed channels, height and width; only the batch may be left open");
      }
      dims.push_back(dim.dim_value());
    }
    const std::int64_t batch = type.shape().dim(0).dim_value();
    batch_.size = batch >= 1 && batch <= extent_limit ? batch : 1;

    Tensor tensor{0, {dims, {}}, name};
    Shape shape = shape_of(dims);
    if (read_as_channels_last(name, rank)) {
      shape = {int(dims[3]), int(dims[1]), int(dims[2])};
      tensor.elements = transpose({dims_of(shape), {}}, std::vector<int>{0, 2, 3, 1});
    }
    network_.layers.push_back({unique_name(name), Input{}, {}, shape});
    affine_.push_back(false);
    check_size(dims);
    values_.emplace(name, std::move(tensor));
  }

  /// Whether the graph takes (n, h, w, c) images and first of all brings them to (n, c, h, w).
  bool read_as_channels_last(const std::string& input, int rank) const {
    bool read = false;
    for (const auto& proto : graph_.node()) {
      if (std::find(proto.input().begin(), proto.input().end(), input) == proto.input().end()) continue;
      const Node node(proto, opset_, path_);
      if (node.op() != "Transpose" || node.integers("perm", {}) != std::vector<std::int64_t>{0, 3, 1, 2}) return false;
      read = true;
    }
    return read && rank == 4;
  }

  void check_size(const Dims& dims) const {
    const std::int64_t size = element_count(dims);
    if (size < 1 || size > activation_limit) fail("a tensor is empty or too large", "check the shapes of the model");
  }

  /// Nodes that the output depends on.
  std::vector<bool> needed_nodes() const {
    std::set<std::string> tensors = {graph_.output(0).name()};
    std::vector<bool> needed(std::size_t(graph_.node_size()));
    for (int i = graph_.node_size() - 1; i >= 0; --i) {
      const auto& node = graph_.node(i);
      needed[std::size_t(i)] = std::any_of(node.output().begin(), node.output().end(), [&](const std::string& name) {
        return !name.empty() && tensors.count(name);
      });
      if (needed[std::size_t(i)]) tensors.insert(node.input().begin(), node.input().end());
    }
    return needed;
  }

  void import(const onnx::NodeProto& proto) {
    const Node node(proto, opset_, path_);
    if (!proto.domain().empty() && proto.domain() != "ai.onnx") {
      node.fail("it belongs to the operator set '" + proto.domain() + "'", "use operators of the ONNX standard");
    }
    bool constant = true;
    for (int i = 0; i < node.inputs(); ++i) {
      if (node.has_input(i) && !find_constant(node, node.input(i))) constant = false;
    }
    if (constant) {
      set(node, 0, fold(node, constant_inputs(node)));
      return;
    }
    if (is_rearrangement(node.op())) {
      move_elements(node);
      return;
    }
    const auto found = operators().find(node.op());
    if (found == operators().end()) {
      std::set<std::string> names;
      for (const auto& [name, function] : operators()) names.insert(name);
      for (const std::string& name : rearrangement_operators()) names.insert(name);
      std::string list;
      for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
      node.fail("this operator is not supported", "supported are " + list);
    }
    (this->*found->second)(node);
  }

  // ---- tensors

  /// Null if the tensor depends on the image. An initializer is taken out of the file's copy, to hold weights once.
  const Constant* find_constant(const Node& node, const std::string& name) {
    const auto found = values_.find(name);
    if (found != values_.end()) return std::get_if<Constant>(&found->second);
    const auto initializer = initializers_.find(name);
    if (initializer == initializers_.end()) {
      node.fail("its input '" + name + "' is not defined before it", export_again);
    }
    Constant constant = read_constant(*initializer->second, "cannot read weights '" + name + "' of '" + path_ + "'");
    initializer->second->Clear();
    return &std::get<Constant>(values_.emplace(name, std::move(constant)).first->second);
  }

  const Constant& constant(const Node& node, int index) {
    const Constant* found = find_constant(node, node.input(index));
    if (!found) {
      node.fail("its input " + std::to_string(index) + " ('" + node.input(index) + "') depends on the image",
                "only constant weights and parameters are supported here");
    }
    return *found;
  }

  ConstantInput constant_inputs(const Node& node) {
    return [this, &node](int index) { return node.has_input(index) ? &constant(node, index) : nullptr; };
  }

  Tensor& tensor(const Node& node, int index) {
    if (find_constant(node, node.input(index))) {
      node.fail("its input " + std::to_string(index) + " is constant", "only its other inputs may be constant");
    }
    Tensor& found = std::get<Tensor>(values_.at(node.input(index)));
    if (found.softmax && !is_rearrangement(node.op())) {
      node.fail("it works on the result of Softmax", "Softmax is supported only at the end of a network");
    }
    return found;
  }

  void set(const Node& node, int index, Value value) {
    const std::string& name = node.output(index);
    if (name.empty()) return;
    if (const auto* tensor = std::get_if<Tensor>(&value)) {
      const Dims& dims = tensor->elements.dims;
      const std::int64_t size = element_count(dims);
      if (size < 1 || size > activation_limit) {
        node.fail("its result is empty or too large", "check the shapes of the model");
      }
      if (dims.empty() || dims[0] != 1) node.fail("it loses the batch axis", export_again);
    }
    if (initializers_.count(name) || !values_.emplace(name, std::move(value)).second) fail_twice(name);
  }

  Shape layer_shape(const Tensor& tensor) const { return network_.layers[std::size_t(tensor.layer)].output; }

  /// Whether the tensor is its layer's output, element by element.
  bool in_order(const Tensor& tensor) const {
    return tensor.elements.in_order() && tensor.elements.size() == layer_shape(tensor).size();
  }

  bool is_permuted(const Tensor& tensor) const { return is_permutation(tensor.elements, layer_shape(tensor).size()); }

  std::string unique_name(const std::string& wanted) {
    const std::string base = wanted.empty() ? "layer" : wanted;
    std::string name = base;
    for (int i = 2; !names_.insert(name).second; ++i) name = base + "_" + std::to_string(i);
    return name;
  }

  int add_layer(const std::string& name, Operation operation, std::vector<int> inputs, Shape output) {
    check_size(dims_of(output));
    network_.layers.push_back({unique_name(name), std::move(operation), std::move(inputs), output});
    affine_.push_back(false);
    return int(network_.layers.size()) - 1;
  }

  /// The layer whose output is this tensor with the given (c, h, w); a new Rearrange where elements have moved.
  int make_real(Tensor& tensor, const Shape& shape) {
    if (in_order(tensor) && layer_shape(tensor) == shape) return tensor.layer;
    Rearrange rearrange;
    rearrange.source = tensor.elements.source;
    if (rearrange.source.empty()) {
      rearrange.source.resize(tensor.elements.size());
      std::iota(rearrange.source.begin(), rearrange.source.end(), 0);
    }
    tensor.layer = add_layer(tensor.name, std::move(rearrange), {tensor.layer}, shape);
    tensor.elements.source.clear();
    return tensor.layer;
  }

  /// For element-wise operations, which do not mind the order: afterwards the tensor holds each element of its layer
  /// once.
  Tensor& make_permuted(Tensor& tensor) {
    if (!is_permuted(tensor)) make_real(tensor, shape_of(tensor.elements.dims));
    return tensor;
  }

  /// Input 0 as the (c, h, w) output of a layer.
  int image(const Node& node) {
    Tensor& input = tensor(node, 0);
    if (input.elements.dims.size() != 4) {
      node.fail("its input has rank " + std::to_string(input.elements.dims.size()),
                "only two-dimensional images (batch, channels, height, width) are supported");
    }
    return make_real(input, shape_of(input.elements.dims));
  }

  Shape output_of(int layer) const { return network_.layers[std::size_t(layer)].output; }

  /// Adds a layer whose (c, h, w) output is output 0 of the node.
  void emit(const Node& node, Operation operation, std::vector<int> inputs, Shape output) {
    const int layer = add_layer(node.name(), std::move(operation), std::move(inputs), output);
    set(node, 0, Tensor{layer, {dims_of(output), {}}, node.name()});
  }

  /// Adds a layer that works element by element on `input`, whose order of elements the result keeps.
  int emit_elementwise(const Node& node, Operation operation, const Tensor& input) {
    const int layer = add_layer(node.name(), std::move(operation), {input.layer}, layer_shape(input));
    set(node, 0, Tensor{layer, input.elements, node.name()});
    return layer;
  }

  // ---- convolution and fully connected

  int bounded(const Node& node, std::int64_t value, std::int64_t lowest, const char* what) const {
    if (value < lowest || value > extent_limit) {
      node.fail(std::string(what) + " " + std::to_string(value) + " is out of range", "check the model");
    }
    return int(value);
  }

  /// Window attributes of Conv, MaxPool and AveragePool.
  Window window(const Node& node, const Shape& input, const std::vector<std::int64_t>& kernel) {
    const auto strides = node.integers("strides", {1, 1}), dilations = node.integers("dilations", {1, 1});
    const auto pads = node.integers("pads", {0, 0, 0, 0});
    if (kernel.size() != 2 || strides.size() != 2 || dilations.size() != 2 || pads.size() != 4) {
      node.fail("its window is not two-dimensional", "only two-dimensional images are supported");
    }
    Window w;
    w.kernel_h = bounded(node, kernel[0], 1, "kernel height");
    w.kernel_w = bounded(node, kernel[1], 1, "kernel width");
    w.stride_h = bounded(node, strides[0], 1, "stride");
    w.stride_w = bounded(node, strides[1], 1, "stride");
    w.dilation_h = bounded(node, dilations[0], 1, "dilation");
    w.dilation_w = bounded(node, dilations[1], 1, "dilation");
    const std::string auto_pad = node.text("auto_pad", "NOTSET");
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      const auto pad = [&](int extent, int size, int stride, int dilation, int& before, int& after) {
        const std::int64_t positions = (extent + stride - 1) / stride;
        const std::int64_t total =
            std::max<std::int64_t>(0, (positions - 1) * stride + std::int64_t(size - 1) * dilation + 1 - extent);
        const int half = bounded(node, total / 2, 0, "pad"), rest = bounded(node, total - half, 0, "pad");
        before = auto_pad == "SAME_UPPER" ? half : rest;
        after = auto_pad == "SAME_UPPER" ? rest : half;
      };
      pad(input.height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom);
      pad(input.width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right);
    } else if (auto_pad == "NOTSET") {
      w.pad_top = bounded(node, pads[0], 0, "pad");
      w.pad_left = bounded(node, pads[1], 0, "pad");
      w.pad_bottom = bounded(node, pads[2], 0, "pad");
      w.pad_right = bounded(node, pads[3], 0, "pad");
    } else if (auto_pad != "VALID") {
      node.fail("its auto_pad is '" + auto_pad + "'", "use NOTSET, SAME_UPPER, SAME_LOWER or VALID");
    }
    return w;
  }

  /// Output of a window; fails where it does not fit.
  Shape window_output(const Node& node, const Shape& input, const Window& w, int channels, bool ceil_mode) const {
    const Shape output{
        channels,
        window_positions(input.height, w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom, ceil_mode),
        window_positions(input.width, w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right, ceil_mode)};
    if (output.height < 1 || output.width < 1) {
      node.fail("its kernel is larger than its padded input", "check the input size of the model");
    }
    return output;
  }

  const std::vector<float>& floats(const Node& node, int index) {
    const Constant& found = constant(node, index);
    if (!found.is_float()) node.fail("its input " + std::to_string(index) + " is not of a float type", export_again);
    return std::get<std::vector<float>>(found.values);
  }

  void convolution(const Node& node) {
    const int source = image(node);
    const Shape input = output_of(source);
    const Dims dims = constant(node, 1).dims;
    if (dims.size() != 4) node.fail("its weights are not (filters, channels, height, width)", export_again);
    const std::vector<std::int64_t> kernel = {dims[2], dims[3]};
    if (node.integers("kernel_shape", kernel) != kernel) {
      node.fail("its kernel_shape is not the extent of its weights", export_again);
    }
    Convolution convolution;
    convolution.window = window(node, input, kernel);
    convolution.filters = bounded(node, dims[0], 1, "number of filters");
    convolution.groups = bounded(node, node.integer("group", 1), 1, "group");
    if (input.channels % convolution.groups != 0 || convolution.filters % convolution.groups != 0 ||
        dims[1] != input.channels / convolution.groups) {
      node.fail("its weights or groups do not fit an input of " + std::to_string(input.channels) + " channels",
                export_again);
    }
    convolution.weights = floats(node, 1);
    convolution.bias.assign(std::size_t(convolution.filters), 0);
    if (node.has_input(2)) convolution.bias = floats(node, 2);
    if (convolution.bias.size() != std::size_t(convolution.filters)) {
      node.fail("it needs one bias per filter", export_again);
    }
    const Shape output = window_output(node, input, convolution.window, convolution.filters, false);
    emit(node, std::move(convolution), {source}, output);
  }

  /// weights: (filters, inputs) or, transposed, (inputs, filters).
  void fully_connected(const Node& node, bool transposed, float factor, std::vector<float> bias) {
    Tensor& input = tensor(node, 0);
    const Dims dims = constant(node, 1).dims;
    if (input.elements.dims.size() != 2 || dims.size() != 2) {
      node.fail("its input or weights are not matrices", "flatten the input before it");
    }
    const std::int64_t inputs = transposed ? dims[0] : dims[1], filters = transposed ? dims[1] : dims[0];
    if (inputs != input.elements.dims[1]) {
      node.fail("its weights take " + std::to_string(inputs) + " inputs, but there are " +
                    std::to_string(input.elements.dims[1]),
                "check the input size of the model");
    }
    if (filters < 1 || filters > max_elements) node.fail("it has no filters", export_again);
    make_permuted(input);
    const Shape shape = layer_shape(input);
    Convolution convolution;
    convolution.window.kernel_h = shape.height;
    convolution.window.kernel_w = shape.width;
    convolution.filters = int(filters);
    convolution.fully_connected = true;
    const std::vector<float>& weights = floats(node, 1);
    convolution.weights.resize(weights.size());
    for (std::int64_t f = 0; f < filters; ++f) {
      for (std::int64_t k = 0; k < inputs; ++k) {
        const float weight = weights[std::size_t(transposed ? k * filters + f : f * inputs + k)];
        convolution.weights[std::size_t(f * inputs + input.elements.at(std::size_t(k)))] = factor * weight;
      }
    }
    bias.resize(std::size_t(filters));
    convolution.bias = std::move(bias);
    const Shape output{int(filters), 1, 1};
    const int layer = add_layer(node.name(), std::move(convolution), {input.layer}, output);
    set(node, 0, Tensor{layer, {{1, filters}, {}}, node.name()});
  }

  void gemm(const Node& node) {
    if (node.integer("transA", 0) != 0)
      node.fail("transA = 1 mixes the images of a batch", "export it with transA = 0");
    const bool transposed = node.integer("transB", 0) == 0;
    const Dims& dims = constant(node, 1).dims;
    std::vector<float> bias;
    if (node.has_input(2)) {
      const Constant& added = constant(node, 2);
      ElementMap map{added.dims, {}};
      if (dims.size() != 2 || !broadcast(map, {1, dims[transposed ? 1 : 0]})) {
        node.fail("its bias does not fit its weights", export_again);
      }
      const float beta = node.number("beta", 1);
      for (std::size_t i = 0; i < map.size(); ++i) bias.push_back(beta * added.number(std::size_t(map.at(i))));
    }
    fully_connected(node, transposed, node.number("alpha", 1), std::move(bias));
  }

  void matrix_product(const Node& node) { fully_connected(node, true, 1, {}); }

  // ---- per-channel scale and shift

  /// Values of a constant, which must be the same all over each channel of the layer behind `input`.
  std::vector<double> per_channel(const Node& node, const Tensor& input, const Dims& dims,
                                  const std::vector<double>& values) {
    const Shape shape = layer_shape(input);
    ElementMap map{dims, {}};
    if (!broadcast(map, input.elements.dims)) node.fail("its constant does not fit its input", export_again);
    std::vector<double> result(std::size_t(shape.channels), NAN);
    for (std::size_t i = 0; i < map.size(); ++i) {
      double& known = result[std::size_t(input.elements.at(i)) / (std::size_t(shape.height) * shape.width)];
      const double value = values[std::size_t(map.at(i))];
      if (!std::isfinite(value)) node.fail("its constant is not finite", "check the model");
      if (!std::isnan(known) && known != value) {
        node.fail("its constant differs inside a channel", "only one number, or one per channel, is supported");
      }
      known = value;
    }
    return result;
  }

  /// y = scale * x + shift, each with the given extents.
  void affine(const Node& node, Tensor& input, const Dims& dims, const std::vector<double>& scale,
              const std::vector<double>& shift) {
    make_permuted(input);
    const auto scales = per_channel(node, input, dims, scale), shifts = per_channel(node, input, dims, shift);
    Convolution convolution;
    convolution.filters = convolution.groups = layer_shape(input).channels;
    convolution.weights.assign(scales.begin(), scales.end());
    convolution.bias.assign(shifts.begin(), shifts.end());
    affine_[std::size_t(emit_elementwise(node, std::move(convolution), input))] = true;
  }

  void batch_normalization(const Node& node) {
    if (node.integer("training_mode", 0) != 0 || node.integer("spatial", 1) != 1) {
      node.fail("it is in training mode, or not per channel", "export the model in evaluation mode");
    }
    Tensor& input = tensor(node, 0);
    const Dims& in = input.elements.dims;
    if (in.size() < 2) node.fail("its input has no channels", export_again);
    for (int i = 1; i <= 4; ++i) {
      if (floats(node, i).size() != std::size_t(in[1])) {
        node.fail("its parameters do not fit an input of " + std::to_string(in[1]) + " channels", export_again);
      }
    }
    const auto &gamma = floats(node, 1), &beta = floats(node, 2), &mean = floats(node, 3), &variance = floats(node, 4);
    const double epsilon = node.number("epsilon", 1e-5f);
    std::vector<double> scale, shift;
    for (std::size_t i = 0; i < gamma.size(); ++i) {
      const double spread = variance[i] + epsilon;
      if (!(spread > 0)) node.fail("a variance is not positive", "check the model");
      scale.push_back(gamma[i] / std::sqrt(spread));
      shift.push_back(beta[i] - mean[i] * scale.back());
    }
    Dims dims(in.size(), 1);
    dims[1] = in[1];
    affine(node, input, dims, scale, shift);
  }

  /// Add, Sub, Mul, Div.
  void arithmetic(const Node& node) {
    const bool first = find_constant(node, node.input(0)), second = find_constant(node, node.input(1));
    if (!first && !second) {
      combine(node);
      return;
    }
    const std::string& op = node.op();
    const Constant& constant = this->constant(node, first ? 0 : 1);
    if (op == "Div" && first) node.fail("it divides by a tensor", "only division by constants is supported");
    std::vector<double> scale, shift;
    for (std::size_t i = 0; i < constant.size(); ++i) {
      const double value = constant.number(i);
      if (op == "Div" && value == 0) node.fail("it divides by 0", "check the model");
      scale.push_back(op == "Mul" ? value : op == "Div" ? 1 / value : op == "Sub" && first ? -1 : 1);
      shift.push_back(op == "Add" ? value : op == "Sub" ? (first ? value : -value) : 0);
    }
    affine(node, tensor(node, first ? 1 : 0), constant.dims, scale, shift);
  }

  /// Sum or product of two tensors.
  void combine(const Node& node) {
    const bool product = node.op() == "Mul";
    if (!product && node.op() != "Add") {
      node.fail("both inputs depend on the image", "of two tensors only Add and Mul are supported");
    }
    Tensor &a = tensor(node, 0), &b = tensor(node, 1);
    const auto add = [&](int x, int y, const ElementMap& elements) {
      const Operation operation = product ? Operation(Multiply{}) : Operation(Add{});
      const int layer = add_layer(node.name(), operation, {x, y}, output_of(x));
      set(node, 0, Tensor{layer, elements, node.name()});
    };
    if (a.elements == b.elements && layer_shape(a) == layer_shape(b) && is_permuted(a)) {
      add(a.layer, b.layer, a.elements);
      return;
    }
    Dims dims;
    if (!broadcast_dims(a.elements.dims, b.elements.dims, dims) || a.elements.dims.size() != b.elements.dims.size() ||
        element_count(dims) > activation_limit) {
      node.fail("the shapes of its inputs do not fit together", export_again);
    }
    if (product && dims.size() == 4) {
      // squeeze-excite: one factor per channel
      for (Tensor* gate : {&b, &a}) {
        Tensor& other = gate == &b ? a : b;
        if (gate->elements.dims != Dims{1, dims[1], 1, 1} || other.elements.dims != dims) continue;
        const int value = make_real(other, shape_of(dims));
        add(value, make_real(*gate, {int(dims[1]), 1, 1}), {dims, {}});
        return;
      }
    }
    const auto widen = [&](Tensor& tensor) {
      if (tensor.elements.dims == dims) return make_real(tensor, shape_of(dims));
      Tensor wide = tensor;
      wide.name = node.name();
      broadcast(wide.elements, dims);
      return make_real(wide, shape_of(dims));
    };
    const int x = widen(a);
    add(x, widen(b), {dims, {}});
  }

  // ---- element-wise functions

  void clamp(const Node& node, float low, float high) {
    if (!(low <= high)) node.fail("its lower bound is not below its upper bound", "check the model");
    const int layer = emit_elementwise(node, Function{}, make_permuted(tensor(node, 0)));
    network_.layers[std::size_t(layer)].low = low;
    network_.layers[std::size_t(layer)].high = high;
  }

  void relu(const Node& node) { clamp(node, 0, std::numeric_limits<float>::infinity()); }

  void clip(const Node& node) {
    const float infinity = std::numeric_limits<float>::infinity();
    float bounds[] = {node.number("min", -infinity), node.number("max", infinity)};
    for (int i = 0; i < 2; ++i) {
      if (!node.has_input(i + 1)) continue;
      const Constant& bound = constant(node, i + 1);
      if (bound.size() != 1) node.fail("a bound is not one number", export_again);
      bounds[i] = bound.number(0);
    }
    clamp(node, bounds[0], bounds[1]);
  }

  void function(const Node& node) {
    Function function;
    if (node.op() == "LeakyRelu") {
      function = {Function::Kind::leaky_relu, node.number("alpha", 0.01f), 0};
    } else if (node.op() == "HardSigmoid") {
      function = {Function::Kind::hard_sigmoid, node.number("alpha", 0.2f), node.number("beta", 0.5f)};
    } else {
      function.kind = node.op() == "Sigmoid" ? Function::Kind::sigmoid : Function::Kind::hard_swish;
    }
    emit_elementwise(node, function, make_permuted(tensor(node, 0)));
  }

  void local_response_norm(const Node& node) {
    const int source = image(node);
    LocalResponseNorm norm;
    norm.size = bounded(node, node.integer("size", 0), 1, "size");
    norm.alpha = node.number("alpha", 1e-4f);
    norm.beta = node.number("beta", 0.75f);
    norm.bias = node.number("bias", 1);
    emit(node, norm, {source}, output_of(source));
  }

  // ---- pooling

  void pool(const Node& node) {
    const int source = image(node);
    Pool pool;
    pool.kind = node.op() == "MaxPool" ? Pool::Kind::max : Pool::Kind::average;
    pool.window = window(node, output_of(source), node.integers("kernel_shape", {}));
    pool.count_padding = pool.kind == Pool::Kind::average && node.integer("count_include_pad", 0) != 0;
    const Shape output = window_output(node, output_of(source), pool.window, output_of(source).channels,
                                       node.integer("ceil_mode", 0) != 0);
    if (pool.window == Window{}) {
      set(node, 0, tensor(node, 0));  // adaptive pooling to the extent that the input already has
      return;
    }
    emit(node, pool, {source}, output);
  }

  static Pool whole(Pool::Kind kind, const Shape& input) {
    Pool pool{kind, {}, false};
    pool.window.kernel_h = input.height;
    pool.window.kernel_w = input.width;
    return pool;
  }

  void global_pool(const Node& node) {
    const int source = image(node);
    const Shape input = output_of(source);
    const auto kind = node.op() == "GlobalMaxPool" ? Pool::Kind::max : Pool::Kind::average;
    emit(node, whole(kind, input), {source}, {input.channels, 1, 1});
  }

  /// Mean over all axes but the batch and one, which the mean leaves as channels.
  void reduce_mean(const Node& node) {
    Tensor input = tensor(node, 0);
    const Dims dims = input.elements.dims;
    std::vector<std::int64_t> axes = node.integers("axes", {});
    if (node.has_input(1)) axes = integers_of(node, constant_inputs(node), 1);
    std::vector<bool> reduced(dims.size());
    for (const std::int64_t axis : axes) reduced[std::size_t(node.axis(axis, dims.size()))] = true;
    std::vector<int> permutation = {0};
    for (std::size_t i = 1; i < dims.size(); ++i) {
      if (!reduced[i]) permutation.push_back(int(i));
    }
    if (reduced[0] || permutation.size() != 2 || dims.size() < 3 || axes.empty()) {
      node.fail("it does not reduce exactly the height and width of an image", "reduce over both, and nothing else");
    }
    for (std::size_t i = 1; i < dims.size(); ++i) {
      if (reduced[i]) permutation.push_back(int(i));
    }
    input.elements = transpose(input.elements, permutation);
    const Shape shape = shape_of(input.elements.dims);
    const int source = make_real(input, shape);
    const int layer = add_layer(node.name(), whole(Pool::Kind::average, shape), {source}, Shape{shape.channels, 1, 1});
    Dims result;
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (!reduced[i] || node.integer("keepdims", 1) != 0) result.push_back(reduced[i] ? 1 : dims[i]);
    }
    set(node, 0, Tensor{layer, {result, {}}, node.name()});
  }

  // ---- movements

  void move_elements(const Node& node) {
    const Tensor& input = tensor(node, 0);
    const auto maps = rearrange(node, input.elements, constant_inputs(node), batch_, activation_limit);
    for (std::size_t i = 0; i < maps.size(); ++i) {
      // where the order stays (Flatten), the name of what computes the elements says more
      const std::string& name = maps[i].source == input.elements.source ? input.name : node.name();
      set(node, int(i), Tensor{input.layer, maps[i], name, input.softmax});
    }
  }

  void concat(const Node& node) {
    const std::size_t rank = tensor(node, 0).elements.dims.size();
    const int axis = node.axis(node.integer("axis", 1), rank);
    if (axis == 0) node.fail("it concatenates along the batch", "concatenate channels");
    std::vector<int> permutation = {0, axis}, inverse(rank);
    for (int i = 1; i < int(rank); ++i) {
      if (i != axis) permutation.push_back(i);
    }
    for (std::size_t i = 0; i < rank; ++i) inverse[std::size_t(permutation[i])] = int(i);

    std::vector<int> inputs;
    Dims dims;
    for (int i = 0; i < node.inputs(); ++i) {
      Tensor& original = tensor(node, i);
      if (original.elements.dims.size() != rank) node.fail("the ranks of its inputs differ", export_again);
      Tensor turned = original;
      if (axis != 1) turned.elements = transpose(original.elements, permutation);
      Tensor& input = axis == 1 ? original : turned;
      Dims part = input.elements.dims;
      if (i == 0) {
        dims = part;
      } else {
        dims[1] += part[1];
        part[1] = dims[1];
        if (part != dims) node.fail("the shapes of its inputs do not fit together", export_again);
      }
      if (dims[1] > activation_limit) node.fail("its result is too large", "check the shapes of the model");
      inputs.push_back(make_real(input, shape_of(input.elements.dims)));
    }
    if (element_count(dims) < 0) node.fail("its result is too large", "check the shapes of the model");
    const int layer = add_layer(node.name(), Concat{}, inputs, shape_of(dims));
    const ElementMap elements{dims, {}};
    set(node, 0, Tensor{layer, axis == 1 ? elements : transpose(elements, inverse), node.name()});
  }

  // ---- the rest

  void shape(const Node& node) {
    Dims dims = tensor(node, 0).elements.dims;
    dims[0] = batch_.size;
    const auto rank = std::int64_t(dims.size());
    const auto position = [&](std::int64_t value) {
      return std::clamp<std::int64_t>(value < 0 ? value + rank : value, 0, rank);
    };
    const std::int64_t first = position(node.integer("start", 0)), last = position(node.integer("end", rank));
    std::vector<std::int64_t> values(dims.begin() + first, dims.begin() + std::max(first, last));
    const auto count = std::int64_t(values.size());
    set(node, 0, make_constant({count}, std::move(values)));
  }

  /// Operators that change nothing here. A QuantizeLinear and DequantizeLinear pair on activations simulates the
  /// quantization that somebody else chose; this project calibrates its own, so both pass values on.
  void pass(const Node& node) {
    if (node.op() == "Dropout" && node.has_input(2) && constant(node, 2).size() == 1 &&
        constant(node, 2).number(0) != 0) {
      node.fail("it is in training mode", "export the model in evaluation mode");
    }
    if (node.op() == "Cast") {
      const std::int64_t to = node.integer("to", 0);
      if (to != onnx::TensorProto::FLOAT && to != onnx::TensorProto::FLOAT16 && to != onnx::TensorProto::DOUBLE &&
          to != onnx::TensorProto::BFLOAT16) {
        node.fail("it makes integers of activations", "only casts to float types are supported");
      }
    }
    set(node, 0, tensor(node, 0));
  }

  /// Does not change which class is first, and belongs to the loss: the logits are what counts.
  void softmax(const Node& node) {
    Tensor result = tensor(node, 0);
    const Dims& dims = result.elements.dims;
    // before opset 13 every axis from `axis` on took part
    const int axis = node.axis(node.integer("axis", opset_ >= 13 ? -1 : 1), dims.size());
    const std::int64_t taken =
        opset_ >= 13 ? dims[std::size_t(axis)] : element_count(Dims(dims.begin() + axis, dims.end()));
    if (axis == 0 || taken != element_count(dims)) {
      node.fail("it does not run over all classes", "only a Softmax over the logits is supported");
    }
    result.softmax = true;
    set(node, 0, std::move(result));
  }

  using Operator = void (Importer::*)(const Node&);

  static const std::map<std::string, Operator>& operators() {
    static const std::map<std::string, Operator> known = {{"Add", &Importer::arithmetic},
                                                          {"AveragePool", &Importer::pool},
                                                          {"BatchNormalization", &Importer::batch_normalization},
                                                          {"Cast", &Importer::pass},
                                                          {"Clip", &Importer::clip},
                                                          {"Concat", &Importer::concat},
                                                          {"Conv", &Importer::convolution},
                                                          {"DequantizeLinear", &Importer::pass},
                                                          {"Div", &Importer::arithmetic},
                                                          {"Dropout", &Importer::pass},
                                                          {"Gemm", &Importer::gemm},
                                                          {"GlobalAveragePool", &Importer::global_pool},
                                                          {"GlobalMaxPool", &Importer::global_pool},
                                                          {"HardSigmoid", &Importer::function},
                                                          {"HardSwish", &Importer::function},
                                                          {"LRN", &Importer::local_response_norm},
                                                          {"LeakyRelu", &Importer::function},
                                                          {"LogSoftmax", &Importer::softmax},
                                                          {"MatMul", &Importer::matrix_product},
                                                          {"MaxPool", &Importer::pool},
                                                          {"Mul", &Importer::arithmetic},
                                                          {"QuantizeLinear", &Importer::pass},
                                                          {"ReduceMean", &Importer::reduce_mean},
                                                          {"Relu", &Importer::relu},
                                                          {"Shape", &Importer::shape},
                                                          {"Sigmoid", &Importer::function},
                                                          {"Softmax", &Importer::softmax},
                                                          {"Sub", &Importer::arithmetic}};
    return known;
  }

  onnx::GraphProto& graph_;
  std::string path_;
  int opset_ = 0;
  Batch batch_;
  Network network_;
  std::vector<bool> affine_;  // per layer: a scale and shift that may be folded
  std::set<std::string> names_;
  std::map<std::string, onnx::TensorProto*> initializers_;
  std::map<std::string, Value> values_;
};

}  // namespace

std::vector<std::byte> read_onnx(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw Error("cannot read '" + path + "'", "there is no such file", "check the path");
  }
  // https://protobuf.dev/programming-guides/proto-limits: no message is larger than 2 GiB
  const std::uintmax_t size = std::filesystem::file_size(path, ignored);
  if (size > std::uintmax_t(std::numeric_limits<std::int32_t>::max())) {
    throw Error("cannot read '" + path + "'", "it is larger than 2 GiB", "use a smaller model, or float16 weights");
  }
  std::vector<std::byte> bytes(size);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(bytes.data()), std::streamsize(size))) {
    throw Error("cannot read '" + path + "'", "its bytes are not readable", "check its permissions, or copy it again");
  }
  return bytes;
}

Network import_onnx(std::vector<std::byte> file, const std::string& path) {
  onnx::ModelProto model;
  {
    const google::protobuf::LogSilencer silence;  // our own error says it
    if (!model.ParseFromArray(file.data(), int(file.size())) || !model.has_graph()) {
      throw Error("cannot read '" + path + "'", "it is not a complete ONNX model", "export or copy it again");
    }
  }
  file = {};  // the weights are in memory once more, in the model
  return Importer(model, path).run();
}

Network import_onnx(const std::string& path) { return import_onnx(read_onnx(path), path); }

}  // namespace bitcluster
