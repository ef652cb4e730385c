#include <fmt/format.h>

#include <utility>

#include "host/onnx/operators.hpp"
#include "host/onnx/window.hpp"

namespace bitcluster {
namespace {

void convolution(Importer& importer, const Node& node) {
  const int source = importer.image(node);
  const Shape input = importer.output_of(source);
  const Dims dims = importer.constant(node, 1).dims;
  if (dims.size() != 4) node.fail("its weights are not (filters, channels, height, width)", export_again);
  const std::vector<std::int64_t> kernel = {dims[2], dims[3]};
  if (node.integers("kernel_shape", kernel) != kernel) {
    node.fail("its kernel_shape is not the extent of its weights", export_again);
  }
  Convolution convolution;
  convolution.window = read_window(node, input, kernel);
  convolution.filters = node.bounded(dims[0], 1, "number of filters");
  convolution.groups = node.bounded(node.integer("group", 1), 1, "group");
  if (input.channels % convolution.groups != 0 || convolution.filters % convolution.groups != 0 ||
      dims[1] != input.channels / convolution.groups) {
    node.fail(fmt::format("its weights or groups do not fit an input of {} channels", input.channels), export_again);
  }
  convolution.weights = importer.floats(node, 1);
  convolution.bias.assign(std::size_t(convolution.filters), 0);
  if (node.has_input(2)) convolution.bias = importer.floats(node, 2);
  if (convolution.bias.size() != std::size_t(convolution.filters)) {
    node.fail("it needs one bias per filter", export_again);
  }
  const Shape output = window_output(node, input, convolution.window, convolution.filters, false);
  importer.emit(node, std::move(convolution), {source}, output);
}

/// weights: (filters, inputs) or, transposed, (inputs, filters).
void fully_connected(Importer& importer, const Node& node, bool transposed, float factor, std::vector<float> bias) {
  ImportedTensor& input = importer.tensor(node, 0);
  const Dims dims = importer.constant(node, 1).dims;
  if (input.elements.dims.size() != 2 || dims.size() != 2) {
    node.fail("its input or weights are not matrices", "flatten the input before it");
  }
  const std::int64_t inputs = transposed ? dims[0] : dims[1], filters = transposed ? dims[1] : dims[0];
  if (inputs != input.elements.dims[1]) {
    node.fail(fmt::format("its weights take {} inputs, but there are {}", inputs, input.elements.dims[1]),
              "check the input size of the model");
  }
  if (filters < 1 || filters > max_elements) node.fail("it has no filters", export_again);
  importer.make_permuted(input);
  const Shape shape = importer.output_of(input.layer);
  Convolution convolution;
  convolution.window.kernel_h = shape.height;
  convolution.window.kernel_w = shape.width;
  convolution.filters = int(filters);
  convolution.fully_connected = true;
  const std::vector<float>& weights = importer.floats(node, 1);
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
  const int layer = importer.add_layer(node.name(), std::move(convolution), {input.layer}, output);
  importer.set(node, 0, ImportedTensor{layer, {{1, filters}, {}}, node.name()});
}

void gemm(Importer& importer, const Node& node) {
  if (node.integer("transA", 0) != 0) {
    node.fail("transA = 1 mixes the images of a batch", "export it with transA = 0");
  }
  const bool transposed = node.integer("transB", 0) == 0;
  const Dims& dims = importer.constant(node, 1).dims;
  std::vector<float> bias;
  if (node.has_input(2)) {
    const Constant& added = importer.constant(node, 2);
    ElementMap map{added.dims, {}};
    if (dims.size() != 2 || !broadcast(map, {1, dims[transposed ? 1 : 0]})) {
      node.fail(fmt::format("its bias of {} is not one number per column of its weights", fmt::join(added.dims, " x ")),
                "give every image of the batch the same bias");
    }
    const float beta = node.number("beta", 1);
    for (std::size_t i = 0; i < map.size(); ++i) bias.push_back(beta * added.number(std::size_t(map.at(i))));
  }
  fully_connected(importer, node, transposed, node.number("alpha", 1), std::move(bias));
}

/// The weights on every row of a stack of matrices, as on the channels of (n, h, w, c): a 1x1 convolution.
void pointwise(Importer& importer, const Node& node) {
  ImportedTensor input = importer.tensor(node, 0);
  const Dims dims = importer.constant(node, 1).dims;
  const int axis = int(input.elements.dims.size()) - 1;
  if (dims.size() != 2) {
    node.fail(fmt::format("its weights have rank {}", dims.size()),
              "only products with one constant matrix are supported");
  }
  if (dims[0] != input.elements.dims.back()) {
    node.fail(fmt::format("its weights take {} inputs, but there are {}", dims[0], input.elements.dims.back()),
              "check the input size of the model");
  }
  input.elements = move_axis(input.elements, axis, 1);
  Dims result = input.elements.dims;
  result[1] = dims[1];
  const int source = importer.make_real(input, shape_of(input.elements.dims));
  const std::vector<float>& weights = importer.floats(node, 1);
  Convolution convolution;
  convolution.filters = node.bounded(dims[1], 1, "number of filters");
  convolution.weights.resize(weights.size());
  convolution.bias.resize(std::size_t(dims[1]));
  const auto inputs = std::size_t(dims[0]), filters = std::size_t(dims[1]);
  for (std::size_t k = 0; k < weights.size(); ++k) {
    convolution.weights[k % filters * inputs + k / filters] = weights[k];
  }
  const int layer = importer.add_layer(node.name(), std::move(convolution), {source}, shape_of(result));
  importer.set(node, 0, ImportedTensor{layer, move_axis({result, {}}, 1, axis), node.name()});
}

void matrix_product(Importer& importer, const Node& node) {
  if (importer.tensor(node, 0).elements.dims.size() > 2) return pointwise(importer, node);
  fully_connected(importer, node, true, 1, {});
}

}  // namespace

OperatorTable convolution_operators() { return {{"Conv", convolution}, {"Gemm", gemm}, {"MatMul", matrix_product}}; }

}  // namespace bitcluster
