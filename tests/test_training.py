"""The training script runs and exports what PyTorch computes; the committed networks stay small."""

import re
import subprocess
import sys

import pytest

from conftest import ROOT

MODELS = ROOT / "configs" / "models"


def test_training_exports_a_network(tmp_path):
    for module in ("torch", "onnx"):
        pytest.importorskip(module, reason=f"python3-{module} is not installed")
    import torch_onnx
    import train_default_models

    if not train_default_models.DATA.exists():
        pytest.skip(f"{train_default_models.DATA} (Debian package dataset-fashion-mnist) is not there")
    command = [sys.executable, train_default_models.__file__, "--model", "alexnet", "--epochs", "1", "--limit", "256"]
    process = subprocess.run([*command, "--out", tmp_path], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert "epoch 1 of 1" in process.stdout and "s left" in process.stdout

    path = tmp_path / "alexnet.onnx"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert b".py" not in path.read_bytes()  # no source positions of the machine that trained
    network = torch_onnx.OnnxNetwork(path)
    assert (network.input, network.shape) == ("input", (1, 28, 28))
    images, labels = train_default_models.read_idx("train")
    validation = train_default_models.accuracy(network, images[55000:], labels[55000:])
    printed = float(re.search(r"parameters, validation ([\d.]+) %", process.stdout)[1])
    assert abs(100 * validation - printed) < 0.05


def test_committed_networks_are_small():
    files = sorted(MODELS.glob("*.onnx"))
    names = ["alexnet", "googlenet", "mobilenet_v2", "resnet18", "resnet50", "vgg16"]
    assert [file.stem for file in files] == names
    assert sum(file.stat().st_size for file in files) < 8 * 2**20
