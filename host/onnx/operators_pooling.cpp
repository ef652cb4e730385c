#include "host/onnx/affine.hpp"
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
  importer.emit(node, pool, {source}, output, importer.tensor(node, 0).integers);
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
  importer.emit(node, whole(kind, input), {source}, {input.channels, 1, 1}, importer.tensor(node, 0).integers);
}

void global_max_pool(Importer& importer, const Node& node) { global_pool(importer, node, Pool::Kind::max); }

void global_average_pool(Importer& importer, const Node& node) { global_pool(importer, node, Pool::Kind::average); }

// ---- Reduce...

/// Which axes a node reduces; the batch cannot be among them.
std::vector<bool> reduced_axes(Importer& importer, const Node& node, std::size_t rank) {
  std::vector<std::int64_t> axes = node.integers("axes", {});
  if (node.has_input(1)) axes = integers_of(node, importer.constant_inputs(node), 1);
  const bool all = axes.empty() && node.integer("noop_with_empty_axes", 0) == 0;
  std::vector<bool> reduced(rank, all);
  for (const std::int64_t axis : axes) reduced[std::size_t(node.axis(axis, rank))] = true;
  if (reduced[0]) {
    node.fail(all ? "it names no axes, so that it reduces the batch, too" : "it reduces the batch",
              "name the axes of one image: all but axis 0");
  }
  return reduced;
}

/// The pool over some axes of a tensor: over height, width or both of an image as it is; else what is left becomes the
/// channels of an image whose height is all that is reduced.
ImportedTensor pool_axes(Importer& importer, const Node& node, Pool::Kind kind, ImportedTensor input) {
  const Dims dims = input.elements.dims;
  const std::vector<bool> reduced = reduced_axes(importer, node, dims.size());
  Dims result;
  std::int64_t count = 1;
  std::vector<int> order, behind;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    (reduced[i] ? behind : order).push_back(int(i));
    if (reduced[i]) count *= dims[i];
    if (!reduced[i] || node.integer("keepdims", 1) != 0) result.push_back(reduced[i] ? 1 : dims[i]);
  }
  if (count == 1) {
    input.elements = reshape(input.elements, result);
    return input;
  }
  Pool pool{kind, {}, false};
  Shape shape = shape_of(dims);
  if (dims.size() <= 4 && dims.size() > 2 && !reduced[1]) {
    pool.window.kernel_h = reduced[2] ? shape.height : 1;
    pool.window.kernel_w = dims.size() > 3 && reduced[3] ? shape.width : 1;
  } else {
    order.insert(order.end(), behind.begin(), behind.end());
    input.elements = transpose(input.elements, order);
    shape = {int(element_count(dims) / count), int(count), 1};
    pool.window.kernel_h = shape.height;
  }
  const int source = importer.make_real(input, shape);
  const Shape output{shape.channels, shape.height / pool.window.kernel_h, shape.width / pool.window.kernel_w};
  return {importer.add_layer(node.name(), pool, {source}, output), {result, {}}, node.name()};
}

void reduce_mean(Importer& importer, const Node& node) {
  importer.set(node, 0, pool_axes(importer, node, Pool::Kind::average, importer.tensor(node, 0)));
}

void reduce_max(Importer& importer, const Node& node) {
  importer.set(node, 0, pool_axes(importer, node, Pool::Kind::max, importer.tensor(node, 0)));
}

void reduce_min(Importer& importer, const Node& node) {
  ImportedTensor negative = scale_and_shift(importer, node, importer.tensor(node, 0), -1, 0);
  ImportedTensor largest = pool_axes(importer, node, Pool::Kind::max, negative);
  importer.set(node, 0, scale_and_shift(importer, node, largest, -1, 0));
}

/// The mean, times the number of elements.
void reduce_sum(Importer& importer, const Node& node) {
  ImportedTensor mean = pool_axes(importer, node, Pool::Kind::average, importer.tensor(node, 0));
  const double count = double(importer.tensor(node, 0).elements.size()) / double(mean.elements.size());
  importer.set(node, 0, scale_and_shift(importer, node, mean, count, 0));
}

}  // namespace

OperatorTable pooling_operators() {
  return {{"AveragePool", average_pool},      {"GlobalAveragePool", global_average_pool},
          {"GlobalMaxPool", global_max_pool}, {"MaxPool", max_pool},
          {"ReduceMax", reduce_max},          {"ReduceMean", reduce_mean},
          {"ReduceMin", reduce_min},          {"ReduceSum", reduce_sum}};
}

}  // namespace bitcluster
