#include "host/onnx/import.hpp"

#include <fmt/format.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string_view>
#include <utility>

#include "host/base/error.hpp"
#include "host/base/printable.hpp"
#include "host/model/simplify.hpp"
#include "host/onnx/fold.hpp"
#include "host/onnx/importer.hpp"
#include "host/onnx/layer_norms.hpp"
#include "host/onnx/lower_quantized.hpp"
#include "host/onnx/model_file.hpp"
#include "host/onnx/operators.hpp"
#include "host/onnx/refusals.hpp"

namespace bitcluster {
namespace {

/// Older operator sets give the same operators other meanings (axis attributes of Add, Gemm, BatchNormalization).
constexpr int oldest_opset = 7;

const OperatorTable& operators() {
  static const OperatorTable known = [] {
    OperatorTable all;
    for (const auto& table :
         {convolution_operators(), arithmetic_operators(), activation_operators(), normalization_operators(),
          pooling_operators(), movement_operators(), quantization_operators()}) {
      all.insert(table.begin(), table.end());
    }
    return all;
  }();
  return known;
}

Operator operator_of(const Node& node) {
  const auto found = operators().find(node.op());
  if (found == operators().end()) {
    refuse_by_name(node);
    std::vector<std::string_view> names;
    for (const auto& [name, function] : operators()) names.push_back(name);
    node.fail("this operator is not supported", fmt::format("supported are {}", fmt::join(names, ", ")));
  }
  return found->second;
}

/// Zeros that a Pad adds to probabilities, or to integers, would be something else among logits and real numbers.
bool moves_values(const std::string& op) { return op == "Shape" || (is_rearrangement(op) && op != "Pad"); }

/// What leaves the order of the classes as it is.
bool may_follow_softmax(const std::string& op) {
  return moves_values(op) || op == "Cast" || op == "QuantizeLinear" || op == "DequantizeLinear";
}

/// What gives of integers just what it gives of the numbers that they stand for, in order.
bool works_on_integers(const std::string& op) {
  return moves_values(op) || op == "Cast" || op == "DequantizeLinear" || op == "Clip" || op == "Relu" ||
         op == "MaxPool" || op == "GlobalMaxPool";
}

/// All names and texts of a file, so that none reaches a terminal or a results file as it is.
void make_printable(onnx::GraphProto& graph) {
  const auto change = [](std::string& name) { name = printable(name); };
  for (auto* values : {graph.mutable_input(), graph.mutable_output()}) {
    for (auto& value : *values) change(*value.mutable_name());
  }
  for (auto& tensor : *graph.mutable_initializer()) change(*tensor.mutable_name());
  for (auto& node : *graph.mutable_node()) {
    for (std::string* name : {node.mutable_name(), node.mutable_op_type(), node.mutable_domain()}) change(*name);
    for (std::string& name : *node.mutable_input()) change(name);
    for (std::string& name : *node.mutable_output()) change(name);
    for (auto& attribute : *node.mutable_attribute()) {
      if (attribute.has_s()) change(*attribute.mutable_s());
    }
  }
}

}  // namespace

Shape shape_of(const Dims& dims) {
  Shape shape{dims.size() > 1 ? int(dims[1]) : 1, dims.size() > 2 ? int(dims[2]) : 1, 1};
  if (dims.size() == 4) shape.width = int(dims[3]);
  if (dims.size() > 4) shape.height = int(element_count(dims) / shape.channels);
  return shape;
}

Dims dims_of(const Shape& shape) { return {1, shape.channels, shape.height, shape.width}; }

Importer::Importer(onnx::ModelProto& model, const std::string& path)
    : graph_(*model.mutable_graph()), path_(path), budget_(path, std::int64_t(graph_.ByteSizeLong())) {
  network_.name = std::filesystem::path(path).stem().string();
  for (const auto& opset : model.opset_import()) {
    if (opset.domain().empty() || opset.domain() == "ai.onnx") {
      opset_ = int(std::clamp<std::int64_t>(opset.version(), 0, extent_limit));
    }
  }
}

Network Importer::run() {
  if (opset_ < oldest_opset) {
    fail(fmt::format("its operator set is version {}", opset_),
         fmt::format("export it with opset {} or later (13 is well tried)", oldest_opset));
  }
  lower_quantized(graph_);
  recognize_layer_norms(graph_);
  for (auto& tensor : *graph_.mutable_initializer()) {
    if (!initializers_.emplace(tensor.name(), &tensor).second) fail_twice(tensor.name());
  }
  if (graph_.sparse_initializer_size() > 0) fail("it has sparse weights", "store its weights densely");
  if (graph_.output_size() != 1) {
    std::vector<std::string_view> names;
    for (const auto& output : graph_.output()) names.push_back(output.name());
    fail(fmt::format("it has {} outputs ('{}')", names.size(), fmt::join(names, "', '")),
         "export it with the logits as only output, or cut them out with onnx.utils.extract_model");
  }
  find_producers();
  add_input();
  const std::vector<bool> needed = needed_nodes();
  for (; imported_ < graph_.node_size(); ++imported_) {
    if (needed[std::size_t(imported_)]) import(graph_.node(imported_));
  }
  const std::string& logits = graph_.output(0).name();
  const auto found = values_.find(logits);
  if (found == values_.end() && !initializers_.count(logits)) {
    const Reason reason = why_missing(logits);
    fail(fmt::format("its output '{}' is missing: {}", logits, reason.why), reason.what_to_do);
  }
  if (found == values_.end() || !std::holds_alternative<ImportedTensor>(found->second)) {
    fail(fmt::format("its output '{}' does not depend on its input", logits), "export it with the logits as output");
  }
  ImportedTensor& output = std::get<ImportedTensor>(found->second);
  // (c, 1, 1) and (1, c, 1) hold the same logits
  if (!in_order(output)) make_real(output, shape_of(output.elements.dims));
  Network network = simplify(std::move(network_), output.layer, affine_);
  validate(network);
  return network;
}

void Importer::fail(const std::string& why, const std::string& what_to_do) const {
  throw Error(fmt::format("cannot import '{}'", path_), why, what_to_do);
}

void Importer::fail_twice(const std::string& tensor) const {
  fail(fmt::format("tensor '{}' is defined twice", tensor), export_again);
}

// ---- the graph

const onnx::ValueInfoProto& Importer::only_input() const {
  std::vector<const onnx::ValueInfoProto*> inputs;
  std::vector<std::string_view> names;
  for (const auto& input : graph_.input()) {
    if (initializers_.count(input.name())) continue;
    inputs.push_back(&input);
    names.push_back(input.name());
  }
  if (inputs.size() != 1) {
    fail(inputs.empty() ? "it has no input" : fmt::format("it has several inputs ('{}')", fmt::join(names, "', '")),
         "export it with one image as input");
  }
  return *inputs[0];
}

void Importer::add_input() {
  const onnx::ValueInfoProto& input = only_input();
  const std::string& name = input.name();
  const auto& type = input.type().tensor_type();
  if (type.elem_type() != onnx::TensorProto::FLOAT && type.elem_type() != onnx::TensorProto::FLOAT16 &&
      type.elem_type() != onnx::TensorProto::DOUBLE) {
    fail(fmt::format("its input '{}' is not of a float type", name), "export it with a float input");
  }
  const int rank = type.shape().dim_size();
  if (rank < 2 || rank > 4) {
    fail(fmt::format("its input '{}' has rank {}", name, rank),
         "use (batch, channels, height, width), (batch, height, width) or (batch, channels)");
  }
  Dims dims = {1};
  for (int i = 1; i < rank; ++i) {
    const auto& dim = type.shape().dim(i);
    if (!dim.has_dim_value() || dim.dim_value() < 1 || dim.dim_value() > extent_limit) {
      fail(fmt::format("extent {} of its input '{}' is {}", i, name,
                       dim.has_dim_value() ? fmt::to_string(dim.dim_value()) : "open"),
           "export it with fixed channels, height and width; only the batch may be left open");
    }
    dims.push_back(dim.dim_value());
  }
  const std::int64_t batch = type.shape().dim(0).dim_value();
  batch_.size = batch >= 1 && batch <= extent_limit ? batch : 1;

  ImportedTensor tensor{0, {dims, {}}, name};
  Shape shape = shape_of(dims);
  if (rank == 3) shape = {1, int(dims[1]), int(dims[2])};
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
bool Importer::read_as_channels_last(const std::string& input, int rank) const {
  bool read = false;
  for (const auto& proto : graph_.node()) {
    if (std::find(proto.input().begin(), proto.input().end(), input) == proto.input().end()) continue;
    const Node node(proto, opset_, path_);
    if (node.op() != "Transpose" || node.integers("perm", {}) != std::vector<std::int64_t>{0, 3, 1, 2}) return false;
    read = true;
  }
  return read && rank == 4;
}

void Importer::check_size(const Dims& dims) const {
  const std::int64_t size = element_count(dims);
  if (size < 1 || size > activation_limit) fail("a tensor is empty or too large", "check the shapes of the model");
}

void Importer::find_producers() {
  for (int i = 0; i < graph_.node_size(); ++i) {
    for (int k = 0; k < graph_.node(i).output_size(); ++k) {
      const std::string& name = graph_.node(i).output(k);
      if (!name.empty() && !producers_.emplace(name, Producer{i, k}).second) fail_twice(name);
      if (initializers_.contains(name)) fail_twice(name);
    }
  }
  for (const auto& input : graph_.input()) {
    if (producers_.contains(input.name())) fail_twice(input.name());
  }
}

/// Nodes that the output depends on. Counts who reads their inputs.
std::vector<bool> Importer::needed_nodes() {
  std::set<std::string> tensors = {graph_.output(0).name()};
  readers_[graph_.output(0).name()] = 1;
  std::vector<bool> needed(std::size_t(graph_.node_size()));
  for (int i = graph_.node_size() - 1; i >= 0; --i) {
    const auto& node = graph_.node(i);
    needed[std::size_t(i)] = std::any_of(node.output().begin(), node.output().end(),
                                         [&](const std::string& name) { return !name.empty() && tensors.count(name); });
    if (!needed[std::size_t(i)]) continue;
    tensors.insert(node.input().begin(), node.input().end());
    for (const std::string& input : node.input()) ++readers_[input];
  }
  return needed;
}

void Importer::import(const onnx::NodeProto& proto) {
  const Node node(proto, opset_, path_);
  // ONNX Runtime's quantizer names its own domain for 16 bits before opset 21
  const bool quantizes = node.op() == "QuantizeLinear" || node.op() == "DequantizeLinear";
  if (!proto.domain().empty() && proto.domain() != "ai.onnx" && !(quantizes && proto.domain() == "com.microsoft")) {
    node.fail(fmt::format("it belongs to the operator set '{}'", proto.domain()), "use operators of the ONNX standard");
  }
  bool constant = true;
  std::int64_t bytes = 0;
  for (int i = 0; i < node.inputs(); ++i) {
    if (!node.has_input(i)) continue;
    const Constant* input = find_constant(node, node.input(i));
    constant = constant && input;
    if (input) bytes += input->bytes();
  }
  budget_.spend(node.name(), double(bytes));
  if (constant) {
    std::vector<Constant> results = fold(node, constant_inputs(node), budget_);
    for (std::size_t i = 0; i < results.size(); ++i) {
      budget_.hold(node.output(int(i)), results[i]);
      set(node, int(i), std::move(results[i]));
    }
  } else {
    operator_of(node)(*this, node);
  }
  for (const std::string& input : proto.input()) {  // weights of large models are held once
    if (--readers_[input] > 0) continue;
    budget_.release(input);
    values_.erase(input);
  }
}

/// Of a tensor that no node before has given.
Importer::Reason Importer::why_missing(const std::string& name) const {
  const auto found = producers_.find(name);
  if (found == producers_.end()) {
    return {"nothing in the model has that name", "the file is incomplete: export or copy it again"};
  }
  const Node node(graph_.node(found->second.node), opset_, path_);
  if (found->second.node >= imported_) {
    return {fmt::format("it comes from node '{}' ({}), which does not come before", node.name(), node.op()),
            "sort the nodes so that each follows what it reads; a cycle cannot be imported"};
  }
  return {fmt::format("it is output {} of node '{}' ({})", found->second.output, node.name(), node.op()),
          fmt::format("of {} only output 0 is supported: use a model that needs no other", node.op())};
}

// ---- inputs of a node

/// Null if the tensor depends on the image. An initializer is taken out of the file's copy, to hold weights once.
const Constant* Importer::find_constant(const Node& node, const std::string& name) {
  const auto found = values_.find(name);
  if (found != values_.end()) return std::get_if<Constant>(&found->second);
  const auto initializer = initializers_.find(name);
  if (initializer == initializers_.end()) {
    const Reason reason = why_missing(name);
    node.fail(fmt::format("its input '{}' is missing: {}", name, reason.why), reason.what_to_do);
  }
  Constant constant = read_constant(*initializer->second, fmt::format("cannot read weights '{}' of '{}'", name, path_));
  initializer->second->Clear();
  return &std::get<Constant>(values_.emplace(name, std::move(constant)).first->second);
}

bool Importer::is_constant(const Node& node, int index) { return find_constant(node, node.input(index)) != nullptr; }

const Constant& Importer::constant(const Node& node, int index) {
  const Constant* found = find_constant(node, node.input(index));
  if (!found) {
    node.fail(fmt::format("its input {} ('{}') depends on the image", index, node.input(index)),
              "only constant weights and parameters are supported here");
  }
  return *found;
}

ConstantInput Importer::constant_inputs(const Node& node) {
  return [this, &node](int index) { return node.has_input(index) ? &constant(node, index) : nullptr; };
}

const std::vector<float>& Importer::floats(const Node& node, int index) {
  const Constant& found = constant(node, index);
  if (!found.is_float()) node.fail(fmt::format("its input {} is not of a float type", index), export_again);
  return std::get<std::vector<float>>(found.values);
}

ImportedTensor& Importer::tensor(const Node& node, int index) {
  if (is_constant(node, index)) {
    node.fail(fmt::format("its input {} is constant", index), "only its other inputs may be constant");
  }
  ImportedTensor& found = std::get<ImportedTensor>(values_.at(node.input(index)));
  if (found.softmax && !may_follow_softmax(node.op())) {
    node.fail("it works on the result of Softmax", "Softmax is supported only at the end of a network");
  }
  if (found.integers && !works_on_integers(node.op())) {
    node.fail(
        "it works on the integers of QuantizeLinear",
        "put DequantizeLinear before it; on integers only Clip, Relu, max pooling and what moves them are supported");
  }
  return found;
}

int Importer::image(const Node& node) {
  ImportedTensor& input = tensor(node, 0);
  if (input.elements.dims.size() != 4) {
    node.fail(fmt::format("its input has rank {}", input.elements.dims.size()),
              "only two-dimensional images (batch, channels, height, width) are supported");
  }
  return make_real(input, shape_of(input.elements.dims));
}

// ---- layers

/// Whether the tensor is its layer's output, element by element.
bool Importer::in_order(const ImportedTensor& tensor) const {
  return tensor.elements.in_order() && tensor.elements.size() == output_of(tensor.layer).size();
}

bool Importer::is_permuted(const ImportedTensor& tensor) const {
  return is_permutation(tensor.elements, output_of(tensor.layer).size());
}

int Importer::make_real(ImportedTensor& tensor, const Shape& shape) {
  if (in_order(tensor) && output_of(tensor.layer) == shape) return tensor.layer;
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

ImportedTensor& Importer::make_permuted(ImportedTensor& tensor) {
  if (!is_permuted(tensor)) make_real(tensor, shape_of(tensor.elements.dims));
  return tensor;
}

std::string Importer::unique_name(const std::string& wanted) {
  const std::string base = wanted.empty() ? "layer" : wanted;
  std::string name = base;
  int& count = numbers_[base];  // where to go on, since all nodes may have one name
  while (!names_.insert(name).second) name = fmt::format("{}_{}", base, ++count + 1);
  return name;
}

int Importer::add_layer(const std::string& name, Operation operation, std::vector<int> inputs, Shape output) {
  check_size(dims_of(output));
  if (const auto* convolution = std::get_if<Convolution>(&operation)) {
    budget_.spend(name, double(sizeof(float)) * double(convolution->weights.size() + convolution->bias.size()));
  } else if (const auto* rearrange = std::get_if<Rearrange>(&operation)) {
    budget_.spend(name, double(sizeof(std::int32_t)) * double(rearrange->source.size()));
  }
  network_.layers.push_back({unique_name(name), std::move(operation), std::move(inputs), output});
  affine_.push_back(false);
  return int(network_.layers.size()) - 1;
}

ImportedTensor Importer::add_elementwise(const Node& node, Operation operation, const ImportedTensor& input) {
  const int layer = add_layer(node.name(), std::move(operation), {input.layer}, output_of(input.layer));
  return {layer, input.elements, node.name(), false, input.integers};
}

void Importer::clamp(int layer, float low, float high) {
  network_.layers[std::size_t(layer)].low = low;
  network_.layers[std::size_t(layer)].high = high;
}

// ---- results of a node

void Importer::set(const Node& node, int index, ImportedValue value) {
  const std::string& name = node.output(index);
  if (name.empty()) return;
  if (const auto* tensor = std::get_if<ImportedTensor>(&value)) {
    const Dims& dims = tensor->elements.dims;
    const std::int64_t size = element_count(dims);
    if (size < 1 || size > activation_limit) {
      node.fail("its result is empty or too large", "check the shapes of the model");
    }
    if (dims.empty() || dims[0] != 1) node.fail("it loses the batch axis", "keep the batch as axis 0");
    budget_.spend(node.name(), double(sizeof(std::int32_t)) * double(tensor->elements.source.size()));
  } else {
    budget_.spend(node.name(), double(std::get<Constant>(value).bytes()));
  }
  if (readers_.contains(name)) values_.emplace(name, std::move(value));
}

void Importer::emit(const Node& node, Operation operation, std::vector<int> inputs, Shape output,
                    std::optional<Quantization> integers) {
  const int layer = add_layer(node.name(), std::move(operation), std::move(inputs), output);
  set(node, 0, ImportedTensor{layer, {dims_of(output), {}}, node.name(), false, integers});
}

Network import_onnx(std::vector<std::byte> file, const std::string& path) {
  onnx::ModelProto model;
  parse_model(file.data(), file.size(), path, model);
  file = {};  // the weights are in memory once more, in the model
  make_printable(*model.mutable_graph());
  return Importer(model, path).run();
}

Network import_onnx(const std::string& path) { return import_onnx(read_onnx(path), path); }

}  // namespace bitcluster
