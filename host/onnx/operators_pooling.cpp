#include "host/onnx/operators.hpp"
#include "host/onnx/window.hpp"

namespace bitcluster {
namespace {

void pool(Importer& importer, const Node& node, Pool::Kind kind) {
  const int source = importer.image(node);
  const Shape input = importer.output_of(source);
  Pool pool;
  pool.kind = kind;
  pool.window = read_window(node, input, node.integers("kernel_shape", {}));
  pool.count_padding = kind == Pool::Kind::average && node.integer("count_include_pad", 0) != 0;
  const Shape output = window_output(node, input, pool.window, input.channels, node.integer("ceil_mode", 0) != 0);
  if (pool.window == Window{}) {
    importer.set(node, 0, importer.tensor(node, 0));  // adaptive pooling to the extent that the input already has
    return;
  }
  importer.emit(node, pool, {source}, output);
}

void max_pool(Importer& importer, const Node& node) { pool(importer, node, Pool::Kind::max); }

void average_pool(Importer& importer, const Node& node) { pool(importer, node, Pool::Kind::average); }

Pool whole(Pool::Kind kind, const Shape& input) {
  Pool pool{kind, {}, false};
  pool.window.kernel_h = input.height;
  pool.window.kernel_w = input.width;
  return pool;
}

void global_pool(Importer& importer, const Node& node, Pool::Kind kind) {
  const int source = importer.image(node);
  const Shape input = importer.output_of(source);
  importer.emit(node, whole(kind, input), {source}, {input.channels, 1, 1});
}

void global_max_pool(Importer& importer, const Node& node) { global_pool(importer, node, Pool::Kind::max); }

void global_average_pool(Importer& importer, const Node& node) { global_pool(importer, node, Pool::Kind::average); }

/// Mean over all axes but the batch and one, which the mean leaves as channels.
void reduce_mean(Importer& importer, const Node& node) {
  ImportedTensor input = importer.tensor(node, 0);
  const Dims dims = input.elements.dims;
  std::vector<std::int64_t> axes = node.integers("axes", {});
  if (node.has_input(1)) axes = integers_of(node, importer.constant_inputs(node), 1);
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
  const int source = importer.make_real(input, shape);
  const int layer =
      importer.add_layer(node.name(), whole(Pool::Kind::average, shape), {source}, Shape{shape.channels, 1, 1});
  Dims result;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (!reduced[i] || node.integer("keepdims", 1) != 0) result.push_back(reduced[i] ? 1 : dims[i]);
  }
  importer.set(node, 0, ImportedTensor{layer, {result, {}}, node.name()});
}

}  // namespace

OperatorTable pooling_operators() {
  return {{"AveragePool", average_pool},
          {"GlobalAveragePool", global_average_pool},
          {"GlobalMaxPool", global_max_pool},
          {"MaxPool", max_pool},
          {"ReduceMean", reduce_mean}};
}

}  // namespace bitcluster
