"""Runs ONNX networks in PyTorch, one torch function per node: what the C++ side is compared with.

Independent of host/onnx/import.cpp on purpose: it folds nothing but constant sub-graphs and keeps ONNX's own order of nodes.
"""

import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

DTYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float64}  # onnx.TensorProto.DataType


def tensor(proto):
    """An ONNX tensor as a torch tensor."""
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


def padded(x, node, value):
    """Input and the two symmetric pads that are left; asymmetric pads are added to the input."""
    if node.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError(f"auto_pad {node['auto_pad']} is not supported: export with explicit pads")
    top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom), value=value), (0, 0)


def conv(node, x, weight, bias=None):
    x, pads = padded(x, node, 0.0)
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    return functional.conv2d(x, weight, bias, strides, pads, dilations, node.get("group", 1))


def max_pool(node, x):
    x, pads = padded(x, node, float("-inf"))
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    return functional.max_pool2d(x, node["kernel_shape"], strides, pads, dilations, bool(node.get("ceil_mode", 0)))


def average_pool(node, x):
    counted = bool(node.get("count_include_pad", 0))
    top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right) and not counted:
        raise ValueError("AveragePool with asymmetric pads that do not count is not supported")
    x, pads = padded(x, node, 0.0)
    ceil = bool(node.get("ceil_mode", 0))
    return functional.avg_pool2d(x, node["kernel_shape"], node.get("strides", [1, 1]), pads, ceil, counted)


def gemm(node, a, b, c=None):
    a = a.t() if node.get("transA", 0) else a
    b = b if node.get("transB", 0) else b.t()
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if alpha == 1 and (c is None or beta == 1):
        return functional.linear(a, b, c)
    return alpha * functional.linear(a, b) + (0 if c is None else beta * c)


def clip(node, x, low=None, high=None):
    low, high = (None if limit is None else float(limit) for limit in (low, high))
    return torch.clamp(x, node.get("min", low), node.get("max", high))


def pad(node, x, pads, value=None):
    if node.get("mode", b"constant") != b"constant":
        raise ValueError(f"Pad mode {node['mode']} is not supported")
    pads = pads.tolist()
    pairs = list(zip(pads[: x.dim()], pads[x.dim() :]))
    # torch counts from the last axis
    return functional.pad(x, [p for pair in reversed(pairs) for p in pair], value=0.0 if value is None else float(value))


def slice_(node, x, starts, ends, axes=None, steps=None):
    starts, ends = starts.tolist(), ends.tolist()
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for start, end, axis, step in zip(starts, ends, axes, steps):
        if step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
        else:  # torch has no negative steps
            x = x.index_select(axis, torch.tensor(range(*slice(start, end, step).indices(x.shape[axis]))))
    return x


def reshape(node, x, shape):
    return x.reshape([x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(shape.tolist())])


def unsqueeze(node, x, axes):
    for axis in sorted(axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def squeeze(node, x, axes):
    for axis in sorted(axes.tolist(), reverse=True):
        x = x.squeeze(axis)
    return x


def reduce_mean(node, x):
    return x.mean(node.get("axes", list(range(x.dim()))), keepdim=bool(node.get("keepdims", 1)))


def hard_sigmoid(node, x):
    return torch.clamp(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0, 1)


def batch_norm(node, x, scale, bias, mean, variance):
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


def lrn(node, x):
    options = node["size"], node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0)
    return functional.local_response_norm(x, *options)


def constant_of_shape(node, shape):
    value = tensor(node["value"]) if "value" in node else torch.zeros(1)
    return value.expand(shape.tolist()).clone()


OPERATORS = {
    "Add": lambda node, a, b: a + b,
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Cast": lambda node, x: x.to(DTYPES[node["to"]]),
    "Clip": clip,
    "Concat": lambda node, *x: torch.cat(x, node["axis"]),
    "Constant": lambda node: tensor(node["value"]),
    "ConstantOfShape": constant_of_shape,
    "Conv": conv,
    "Div": lambda node, a, b: a / b,
    "Dropout": lambda node, x, *_: x,
    "Flatten": lambda node, x: x.flatten(node.get("axis", 1)),
    "Gather": lambda node, x, index: x[(slice(None),) * node.get("axis", 0) + (index,)],
    "Gemm": gemm,
    "GlobalAveragePool": lambda node, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda node, x: functional.hardswish(x),
    "Identity": lambda node, x: x,
    "LRN": lrn,
    "LeakyRelu": lambda node, x: functional.leaky_relu(x, node.get("alpha", 0.01)),
    "MatMul": lambda node, a, b: a @ b,
    "MaxPool": max_pool,
    "Mul": lambda node, a, b: a * b,
    "Pad": pad,
    "ReduceMean": reduce_mean,
    "Relu": lambda node, x: functional.relu(x),
    "Reshape": reshape,
    "Shape": lambda node, x: torch.tensor(x.shape),
    "Sigmoid": lambda node, x: torch.sigmoid(x),
    "Slice": slice_,
    "Softmax": lambda node, x: functional.softmax(x, node.get("axis", -1)),
    "Squeeze": squeeze,
    "Sub": lambda node, a, b: a - b,
    "Transpose": lambda node, x: x.permute(node["perm"]),
    "Unsqueeze": unsqueeze,
}


class OnnxNetwork(torch.nn.Module):
    """An ONNX file (opset 13, one input, one output) as a module: images (n, c, h, w) to what the file gives."""

    def __init__(self, path):
        super().__init__()
        graph = onnx.load(str(path)).graph
        constants = {proto.name: tensor(proto) for proto in graph.initializer}
        (image,) = (value for value in graph.input if value.name not in constants)
        self.input, self.output = image.name, graph.output[0].name
        self.shape = tuple(extent.dim_value for extent in image.type.tensor_type.shape.dim)[1:]  #: (c, h, w)
        self.nodes = []
        for proto in graph.node:
            if proto.op_type not in OPERATORS:
                raise ValueError(f"{path}: node {proto.name}: operator {proto.op_type} is not supported")
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
            node = OPERATORS[proto.op_type], attributes, list(proto.input), proto.output[0]
            if all(name in constants or not name for name in proto.input):
                constants[proto.output[0]] = self.evaluate(node, constants)
            else:
                self.nodes.append(node)
        used = {name for _, _, inputs, _ in self.nodes for name in inputs if name in constants}
        self.names = {name: f"constant{index}" for index, name in enumerate(sorted(used))}
        for name, buffer in self.names.items():
            self.register_buffer(buffer, constants[name])

    @staticmethod
    def evaluate(node, values):
        operator, attributes, inputs, _ = node
        return operator(attributes, *(values[name] if name else None for name in inputs))

    def forward(self, image):
        values = {name: getattr(self, buffer) for name, buffer in self.names.items()}
        values[self.input] = image
        for node in self.nodes:
            values[node[3]] = self.evaluate(node, values)
        return values[self.output]
