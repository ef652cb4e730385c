"""ONNX's own tests of backends (Debian: libonnx-testdata), one small model each with inputs and expected outputs.

Every model runs twice, as far as that makes sense: as a network, its first input being a batch of images and all others
constants; and folded, all inputs being constants, whose result is added to an image of zeros. A model may be refused, but
what is computed must be right, and the refusal must not blame the export: these models are valid.

Run with -s to see what is refused.
"""

import collections
import os
import re
import subprocess
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy
import pytest

from conftest import BUILD

onnx = pytest.importorskip("onnx", reason="python3-onnx is not installed")
from onnx import TensorProto, TensorShapeProto, helper, numpy_helper, version_converter

SUITE = Path(os.environ.get("ONNX_TEST_DATA", "/usr/share/libonnx-testdata/data"))
FOLDERS = ["node", "pytorch-converted", "pytorch-operator", "simple"]

# Relative: the suite's own tolerance. Absolute: sums of float32 in another order, for outputs up to 1 as most are.
RTOL, ATOL = 1e-3, 2e-6

# How many must at least be right, so that refusing everything is no success
LEAST = {"network": 175, "folded": 655}


# Functions of one element: tensors of any shape are as good as a batch of vectors
ELEMENTWISE = {"Abs", "Ceil", "Celu", "Clip", "Elu", "Erf", "Floor", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg",
               "Relu", "Round", "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "Tanh", "ThresholdedRelu"}


def modernise(model):
    """Raises an operator set older than 7, which is the first that is read, where that changes no operator."""
    version = next((entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if version is None or version.version >= 7:
        return model
    if all(onnx.defs.get_schema(node.op_type, 7, node.domain).since_version <= version.version for node in model.graph.node):
        version.version = 7
        return model
    if any(node.op_type == "PRelu" for node in model.graph.node):
        raise NotImplementedError("the converter leaves its slopes where they do not broadcast")
    return version_converter.convert_version(model, 7)


class Case:
    """A model with the values of its inputs and its first output."""

    def __init__(self, folder):
        self.name = folder.name
        self.model = modernise(onnx.load(str(folder / "model.onnx")))
        graph = self.model.graph
        stored = {tensor.name for tensor in graph.initializer}
        names = [value.name for value in graph.input if value.name not in stored]
        data = folder / "test_data_set_0"
        self.inputs = {name: onnx.load_tensor(str(data / f"input_{i}.pb")) for i, name in enumerate(names)}
        for value in graph.input:
            if value.name in self.inputs and value.type.tensor_type.elem_type == TensorProto.BFLOAT16:
                self.inputs[value.name].data_type = TensorProto.BFLOAT16  # the suite keeps its bits as uint16
        self.arrays = {name: numpy_helper.to_array(tensor) for name, tensor in self.inputs.items()}
        output = onnx.load_tensor(str(data / "output_0.pb"))
        self.expected = numpy_helper.to_array(output)
        self.real = output.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
        del graph.output[1:]

    def operators(self):
        return [node.op_type for node in self.model.graph.node]

    def with_constants(self, names):
        """The model, with these inputs as initializers."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        left = [value for value in model.graph.input if value.name not in names]
        del model.graph.input[:]
        model.graph.input.extend(left)
        for name in names:
            model.graph.initializer.append(self.inputs[name])
            model.graph.initializer[-1].name = name
        return model

    def as_network(self):
        """Model and images (n, h, w, c), or None where the first input is no batch of which the output is one, too."""
        if not self.inputs:
            return None
        image = next(iter(self.inputs))
        if self.inputs[image].data_type != TensorProto.FLOAT or not self.real:
            return None
        batch, expected = self.arrays[image], self.expected
        if 0 in batch.shape + expected.shape:
            return None
        model = self.with_constants([name for name in self.inputs if name != image])
        if set(self.operators()) <= ELEMENTWISE and batch.ndim not in (2, 4) and batch.ndim > 0:
            batch = batch.reshape(len(batch), -1)
            shape = next(value for value in model.graph.input if value.name == image).type.tensor_type.shape
            del shape.dim[:]
            shape.dim.extend([TensorShapeProto.Dimension(dim_value=extent) for extent in batch.shape])
        if batch.ndim not in (2, 4) or expected.ndim < 1 or len(expected) != len(batch):
            return None
        return model, batch.transpose(0, 2, 3, 1) if batch.ndim == 4 else batch

    def as_folded(self):
        """Model and its one image, or None where the result is no tensor of numbers."""
        if self.expected.dtype.kind not in "fiub" or not 0 < self.expected.size <= 65536:  # what an axis may have
            return None
        model = self.with_constants(list(self.inputs))
        graph, result, size = model.graph, model.graph.output[0].name, self.expected.size
        del graph.input[:], graph.output[:]
        graph.input.append(helper.make_tensor_value_info("suite image", TensorProto.FLOAT, [1, size]))
        graph.output.append(helper.make_tensor_value_info("suite sum", TensorProto.FLOAT, [1, size]))
        graph.initializer.append(numpy_helper.from_array(numpy.array([1, size]), "suite shape"))
        graph.node.append(helper.make_node("Cast", [result], ["suite real"], to=TensorProto.FLOAT))
        graph.node.append(helper.make_node("Reshape", ["suite real", "suite shape"], ["suite row"]))
        graph.node.append(helper.make_node("Add", ["suite image", "suite row"], ["suite sum"]))
        return model, numpy.zeros((1, size), numpy.float32)


def run(case, model, images, folder):
    """Logits, or the message of the refusal."""
    path = folder / case.name
    path.mkdir()
    onnx.save(model, str(path / "model.onnx"))
    numpy.ascontiguousarray(images).tofile(path / "images.f32")
    process = subprocess.run(
        [BUILD / "tests" / "print_logits", path / "model.onnx", path / "images.f32", str(len(images)), path / "logits.f32"],
        capture_output=True, text=True, timeout=60, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if process.returncode == 1:
        return process.stderr.strip()
    assert process.returncode == 0, f"{case.name} ends with {process.returncode}: {process.stderr}"
    return numpy.fromfile(path / "logits.f32", numpy.float32)


def is_right(case, logits):
    expected = case.expected.reshape(-1).astype(numpy.float32)
    if logits.size != expected.size:
        return False
    if case.operators()[-1] in ("Softmax", "LogSoftmax"):
        # dropped at the end of a network, because it keeps the order of the classes
        rows = (case.expected.shape[0], -1)
        return numpy.array_equal(logits.reshape(rows).argsort(1, kind="stable"), expected.reshape(rows).argsort(1, kind="stable"))
    return numpy.allclose(logits, expected, rtol=RTOL, atol=ATOL)


def cases():
    for folder in sorted(path for kind in FOLDERS for path in (SUITE / kind).iterdir() if (path / "model.onnx").exists()):
        try:
            yield Case(folder)
        except Exception:  # sequences, optional and missing inputs; what the converter of operator sets cannot do
            continue


def reason(message):
    """What a message says, without the names of the node and the file, and without the list of all operators."""
    message = re.sub(r"^print_logits: cannot import (node '[^']*' \((\w+)\) of )?'[^']*': ", r"\2: ", message)
    message = re.sub(r"^print_logits: cannot read weights '[^']*' of '[^']*'", "weights", message)
    return re.sub(r"supported are [\w, ]*", "supported are ...", message)


@pytest.fixture(scope="module")
def suite():
    if not SUITE.exists():
        pytest.skip("libonnx-testdata is not installed")
    if not (BUILD / "tests" / "print_logits").exists():
        pytest.skip("print_logits is not built")
    return list(cases())


@pytest.mark.parametrize("way", ["network", "folded"])
def test_suite(way, suite, tmp_path):
    prepared = [(case, made) for case in suite if (made := getattr(case, f"as_{way}")()) is not None]
    with ThreadPool() as pool:
        results = pool.map(lambda item: run(item[0], *item[1], tmp_path), prepared)
    right, wrong, refused = [], [], collections.defaultdict(list)
    for (case, _), result in zip(prepared, results):
        if isinstance(result, str):
            refused[reason(result)].append(case.name)
        else:
            (right if is_right(case, result) else wrong).append(case.name)
    print(f"\n{way}: {len(right)} right, {len(wrong)} wrong, {sum(map(len, refused.values()))} refused:")
    for message, names in sorted(refused.items()):
        print(f"  {message}\n      {', '.join(names)}")
    assert not wrong
    assert len(right) >= LEAST[way]
    assert not {message: names for message, names in refused.items() if "contradicts itself" in message}
