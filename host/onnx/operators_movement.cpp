#include <onnx/onnx_pb.h>

#include <algorithm>
#include <utility>

#include "host/onnx/affine.hpp"
#include "host/onnx/operators.hpp"

namespace bitcluster {
namespace {

/// The operators of rearrange.hpp.
void move_elements(Importer& importer, const Node& node) {
  const ImportedTensor& input = importer.tensor(node, 0);
  const BatchAxis batch{importer.batch_size()};
  importer.charge_moved(node.name(), input.elements.source.size());
  const auto maps = rearrange(node, input.elements, importer.constant_inputs(node), batch, activation_limit);
  for (std::size_t i = 0; i < maps.size(); ++i) {
    if (input.elements.in_order()) importer.charge_moved(node.name(), maps[i].source.size());
    // where the order stays (Flatten), the name of what computes the elements says more
    const std::string& name = maps[i].source == input.elements.source ? input.name : node.name();
    importer.set(node, int(i), ImportedTensor{input.layer, maps[i], name, input.softmax, input.integers});
  }
}

void concat(Importer& importer, const Node& node) {
  int first = 0;
  while (importer.is_constant(node, first)) ++first;
  const std::size_t rank = importer.tensor(node, first).elements.dims.size();
  const int axis = node.axis(node.integer("axis", 1), rank);
  if (axis == 0) node.fail("it concatenates along the batch", "concatenate channels");
  std::vector<int> inputs;
  Dims dims;
  for (int i = 0; i < node.inputs(); ++i) {
    ImportedTensor made;
    const bool constant = importer.is_constant(node, i);
    if (constant) made = constant_tensor(importer, node, importer.constant(node, i));
    ImportedTensor& original = constant ? made : importer.tensor(node, i);
    if (original.elements.dims.size() != rank) node.fail("the ranks of its inputs differ", export_again);
    ImportedTensor turned = original;
    turned.elements = move_axis(original.elements, axis, 1);
    ImportedTensor& input = axis == 1 ? original : turned;
    Dims part = input.elements.dims;
    if (i == 0) {
      dims = part;
    } else {
      dims[1] += part[1];
      part[1] = dims[1];
      if (part != dims) node.fail("the shapes of its inputs do not fit together", export_again);
    }
    if (dims[1] > activation_limit) node.fail("its result is too large", "check the shapes of the model");
    inputs.push_back(importer.make_real(input, shape_of(input.elements.dims)));
  }
  if (element_count(dims) < 0) node.fail("its result is too large", "check the shapes of the model");
  const int layer = importer.add_layer(node.name(), Concat{}, inputs, shape_of(dims));
  importer.set(node, 0, ImportedTensor{layer, move_axis({dims, {}}, 1, axis), node.name()});
}

void shape(Importer& importer, const Node& node) {
  Dims dims = importer.tensor(node, 0).elements.dims;
  dims[0] = importer.batch_size();
  const auto [first, last] = shape_part(node, dims.size());
  importer.set(node, 0,
               make_constant({last - first}, std::vector<std::int64_t>(dims.begin() + first, dims.begin() + last)));
}

void size(Importer& importer, const Node& node) {
  const std::size_t size = importer.tensor(node, 0).elements.size();
  importer.set(node, 0, make_constant({}, std::vector<std::int64_t>{std::int64_t(size) * importer.batch_size()}));
}

void pass_on(Importer& importer, const Node& node) { importer.set(node, 0, importer.tensor(node, 0)); }

void dropout(Importer& importer, const Node& node) {
  if (node.has_input(2) && importer.constant(node, 2).size() == 1 && importer.constant(node, 2).number(0) != 0) {
    node.fail("it is in training mode", "export the model in evaluation mode");
  }
  pass_on(importer, node);
}

void cast(Importer& importer, const Node& node) {
  const std::int64_t to = node.integer("to", 0);
  if (const auto& integers = importer.tensor(node, 0).integers) {
    if (to != integers->type) {
      node.fail("it gives the integers of QuantizeLinear another type", "put DequantizeLinear before it");
    }
    return pass_on(importer, node);  // as PyTorch exports quantized networks
  }
  if (to != onnx::TensorProto::FLOAT && to != onnx::TensorProto::FLOAT16 && to != onnx::TensorProto::DOUBLE &&
      to != onnx::TensorProto::BFLOAT16) {
    node.fail("it makes integers of activations", "only casts to float types are supported");
  }
  pass_on(importer, node);
}

/// Does not change which class is first, and belongs to the loss: the logits are what counts.
void softmax(Importer& importer, const Node& node) {
  ImportedTensor result = importer.tensor(node, 0);
  const Dims& dims = result.elements.dims;
  // before opset 13 every axis from `axis` on took part
  const bool one_axis = node.opset() >= 13;
  const int axis = node.axis(node.integer("axis", one_axis ? -1 : 1), dims.size());
  const std::int64_t taken = one_axis ? dims[std::size_t(axis)] : element_count(Dims(dims.begin() + axis, dims.end()));
  if (axis == 0 || taken != element_count(dims)) {
    node.fail("it does not run over all classes", "only a Softmax over the logits is supported");
  }
  result.softmax = true;
  importer.set(node, 0, std::move(result));
}

}  // namespace

OperatorTable movement_operators() {
  OperatorTable operators = {{"Cast", cast},   {"Concat", concat}, {"Dropout", dropout}, {"LogSoftmax", softmax},
                             {"Shape", shape}, {"Size", size},     {"Softmax", softmax}};
  for (const std::string& name : rearrangement_operators()) operators[name] = move_elements;
  return operators;
}

}  // namespace bitcluster
