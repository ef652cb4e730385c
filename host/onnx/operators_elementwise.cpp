#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <utility>

#include "host/onnx/operators.hpp"

namespace bitcluster {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// ---- per-channel scale and shift

/// Values of a constant that fits `input`; they must be the same all over each channel of the layer behind it.
std::vector<double> per_channel(Importer& importer, const Node& node, const ImportedTensor& input, const Dims& dims,
                                const std::vector<double>& values) {
  const Shape shape = importer.output_of(input.layer);
  for (const double value : values) {
    if (!std::isfinite(value)) node.fail("its constant is not finite", "check the model");
  }
  if (values.size() == 1) return std::vector<double>(std::size_t(shape.channels), values[0]);
  const Dims& in = input.elements.dims;
  Dims aligned(in.size() - dims.size(), 1), channels(in.size(), 1);
  aligned.insert(aligned.end(), dims.begin(), dims.end());
  if (in.size() > 1) channels[1] = shape.channels;
  if (in.size() > 1 && aligned == channels && in[1] == shape.channels && input.elements.in_order()) return values;

  importer.charge_moved(node.name(), input.elements.size());
  ElementMap map{dims, {}};
  broadcast(map, in);
  std::vector<double> result(std::size_t(shape.channels), NAN);
  for (std::size_t i = 0; i < map.size(); ++i) {
    double& known = result[std::size_t(input.elements.at(i)) / (std::size_t(shape.height) * shape.width)];
    const double value = values[std::size_t(map.at(i))];
    if (!std::isnan(known) && known != value) {
      node.fail("its constant differs inside a channel", "only one number, or one per channel, is supported");
    }
    known = value;
  }
  return result;
}

/// y = scale * x + shift, each with the extents `dims`.
void emit_affine(Importer& importer, const Node& node, ImportedTensor& input, const Dims& dims,
                 const std::vector<double>& scale, const std::vector<double>& shift) {
  importer.make_permuted(input);
  const auto scales = per_channel(importer, node, input, dims, scale);
  const auto shifts = per_channel(importer, node, input, dims, shift);
  Convolution convolution;
  convolution.filters = convolution.groups = importer.output_of(input.layer).channels;
  convolution.weights.assign(scales.begin(), scales.end());
  convolution.bias.assign(shifts.begin(), shifts.end());
  importer.mark_affine(importer.emit_elementwise(node, std::move(convolution), input));
}

void batch_normalization(Importer& importer, const Node& node) {
  // before opset 14 further outputs, the statistics of the batch, are what makes it training mode
  bool training = node.integer("training_mode", 0) != 0;
  for (int i = 1; i < node.outputs() && node.opset() < 14; ++i) training = training || !node.output(i).empty();
  if (training) {
    node.fail("it is in training mode: it normalizes with the statistics of the batch",
              "export the model in evaluation mode (in PyTorch: model.eval(), training=TrainingMode.EVAL)");
  }
  if (node.integer("spatial", 1) != 1) {
    node.fail("it normalizes every position on its own", "normalize per channel (spatial = 1)");
  }
  ImportedTensor& input = importer.tensor(node, 0);
  const Dims& in = input.elements.dims;
  if (in.size() < 2) node.fail("its input has no channels", export_again);
  for (int i = 1; i <= 4; ++i) {
    if (importer.floats(node, i).size() != std::size_t(in[1])) {
      node.fail(fmt::format("its parameters do not fit an input of {} channels", in[1]), export_again);
    }
  }
  const auto &gamma = importer.floats(node, 1), &beta = importer.floats(node, 2), &mean = importer.floats(node, 3),
             &variance = importer.floats(node, 4);
  const double epsilon = node.number("epsilon", 1e-5f);
  std::vector<double> scale, shift;
  for (std::size_t i = 0; i < gamma.size(); ++i) {
    const double spread = variance[i] + epsilon;
    if (!(spread > 0) || !std::isfinite(spread)) {
      node.fail(fmt::format("the variance of channel {} plus epsilon is {}", i, spread),
                "it must be positive and finite: check how the model was trained");
    }
    scale.push_back(gamma[i] / std::sqrt(spread));
    shift.push_back(beta[i] - mean[i] * scale.back());
  }
  Dims dims(in.size(), 1);
  dims[1] = in[1];
  emit_affine(importer, node, input, dims, scale, shift);
}

// ---- arithmetic

constexpr int neither = -1;

/// Which of two inputs is constant.
int constant_input(Importer& importer, const Node& node) {
  const bool first = importer.is_constant(node, 0), second = importer.is_constant(node, 1);
  return first ? 0 : second ? 1 : neither;
}

struct Affine {
  double scale, shift;
};

/// A tensor and a constant, each value of which scales and shifts.
template <class AffineOf>
void apply_constant(Importer& importer, const Node& node, int constant_index, AffineOf&& affine_of) {
  const Constant& constant = importer.constant(node, constant_index);
  ImportedTensor& input = importer.tensor(node, 1 - constant_index);
  Dims both;
  if (!broadcast_dims(constant.dims, input.elements.dims, both) || both != input.elements.dims) {
    node.fail(fmt::format("its constant of shape ({}) does not fit an input of shape ({})",
                          fmt::join(constant.dims, ", "), fmt::join(input.elements.dims, ", ")),
              "only a constant that is repeated to the shape of the input is supported: expand the input before it");
  }
  std::vector<double> scale, shift;
  for (std::size_t i = 0; i < constant.size(); ++i) {
    const Affine affine = affine_of(double(constant.number(i)));
    scale.push_back(affine.scale);
    shift.push_back(affine.shift);
  }
  emit_affine(importer, node, input, constant.dims, scale, shift);
}

/// Sum or product of two tensors.
void combine(Importer& importer, const Node& node, const Operation& operation) {
  ImportedTensor &a = importer.tensor(node, 0), &b = importer.tensor(node, 1);
  const auto emit = [&](int x, int y, const ElementMap& elements) {
    const int layer = importer.add_layer(node.name(), operation, {x, y}, importer.output_of(x));
    importer.set(node, 0, ImportedTensor{layer, elements, node.name()});
  };
  if (a.elements == b.elements && importer.output_of(a.layer) == importer.output_of(b.layer) &&
      importer.is_permuted(a)) {
    emit(a.layer, b.layer, a.elements);
    return;
  }
  Dims dims;
  if (!broadcast_dims(a.elements.dims, b.elements.dims, dims) || a.elements.dims.size() != b.elements.dims.size() ||
      element_count(dims) > activation_limit) {
    node.fail(fmt::format("the shapes of its inputs, ({}) and ({}), do not fit together",
                          fmt::join(a.elements.dims, ", "), fmt::join(b.elements.dims, ", ")),
              "give both the same number of axes, each of the same extent or 1");
  }
  if (std::holds_alternative<Multiply>(operation) && dims.size() == 4) {
    // squeeze-excite: one factor per channel
    for (ImportedTensor* gate : {&b, &a}) {
      ImportedTensor& other = gate == &b ? a : b;
      if (gate->elements.dims != Dims{1, dims[1], 1, 1} || other.elements.dims != dims) continue;
      const int value = importer.make_real(other, shape_of(dims));
      emit(value, importer.make_real(*gate, {int(dims[1]), 1, 1}), {dims, {}});
      return;
    }
  }
  const auto widen = [&](ImportedTensor& tensor) {
    if (tensor.elements.dims == dims) return importer.make_real(tensor, shape_of(dims));
    ImportedTensor wide = tensor;
    wide.name = node.name();
    broadcast(wide.elements, dims);
    return importer.make_real(wide, shape_of(dims));
  };
  const int x = widen(a);
  emit(x, widen(b), {dims, {}});
}

[[noreturn]] void refuse_tensors(const Node& node) {
  node.fail("both inputs depend on the image", "of two tensors only Add and Mul are supported");
}

void add(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant == neither) return combine(importer, node, Add{});
  apply_constant(importer, node, constant, [](double value) { return Affine{1, value}; });
}

void subtract(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant == neither) refuse_tensors(node);
  apply_constant(importer, node, constant, [&](double value) {
    return constant == 0 ? Affine{-1, value} : Affine{1, -value};
  });
}

void multiply(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant == neither) return combine(importer, node, Multiply{});
  apply_constant(importer, node, constant, [](double value) { return Affine{value, 0}; });
}

void divide(Importer& importer, const Node& node) {
  const int constant = constant_input(importer, node);
  if (constant == neither) refuse_tensors(node);
  if (constant == 0) node.fail("it divides by a tensor", "only division by constants is supported");
  apply_constant(importer, node, constant, [&](double value) {
    if (value == 0) node.fail("it divides by 0", "check the model");
    return Affine{1 / value, 0};
  });
}

// ---- functions

void emit_clamp(Importer& importer, const Node& node, float low, float high) {
  if (!(low <= high) || low == infinity || high == -infinity) {
    node.fail(fmt::format("it clips to [{}, {}]", low, high), "its lower bound must not be above its upper bound");
  }
  ImportedTensor& input = importer.make_permuted(importer.tensor(node, 0));
  if (input.integers) {
    low = input.integers->real(low);
    high = input.integers->real(high);
  }
  importer.clamp(importer.emit_elementwise(node, Function{}, input), low, high);
}

void relu(Importer& importer, const Node& node) { emit_clamp(importer, node, 0, infinity); }

void clip(Importer& importer, const Node& node) {
  float bounds[] = {node.number("min", -infinity), node.number("max", infinity)};
  for (int i = 0; i < 2; ++i) {
    if (!node.has_input(i + 1)) continue;
    const Constant& bound = importer.constant(node, i + 1);
    if (bound.size() != 1) node.fail("a bound is not one number", export_again);
    bounds[i] = bound.number(0);
  }
  emit_clamp(importer, node, bounds[0], bounds[1]);
}

void emit_function(Importer& importer, const Node& node, const Function& function) {
  importer.emit_elementwise(node, function, importer.make_permuted(importer.tensor(node, 0)));
}

void leaky_relu(Importer& importer, const Node& node) {
  emit_function(importer, node, {Function::Kind::leaky_relu, node.number("alpha", 0.01f), 0});
}

void hard_sigmoid(Importer& importer, const Node& node) {
  emit_function(importer, node, {Function::Kind::hard_sigmoid, node.number("alpha", 0.2f), node.number("beta", 0.5f)});
}

void sigmoid(Importer& importer, const Node& node) { emit_function(importer, node, {Function::Kind::sigmoid}); }

void hard_swish(Importer& importer, const Node& node) { emit_function(importer, node, {Function::Kind::hard_swish}); }

void local_response_norm(Importer& importer, const Node& node) {
  const int source = importer.image(node);
  LocalResponseNorm norm;
  norm.size = node.bounded(node.integer("size", 0), 1, "size");
  norm.alpha = node.number("alpha", 1e-4f);
  norm.beta = node.number("beta", 0.75f);
  norm.bias = node.number("bias", 1);
  importer.emit(node, norm, {source}, importer.output_of(source));
}

}  // namespace

OperatorTable elementwise_operators() {
  return {{"Add", add},
          {"BatchNormalization", batch_normalization},
          {"Clip", clip},
          {"Div", divide},
          {"HardSigmoid", hard_sigmoid},
          {"HardSwish", hard_swish},
          {"LRN", local_response_norm},
          {"LeakyRelu", leaky_relu},
          {"Mul", multiply},
          {"Relu", relu},
          {"Sigmoid", sigmoid},
          {"Sub", subtract}};
}

}  // namespace bitcluster
