"""What of tests/gpu needs no GPU: its refusal, its table, and the networks that PyTorch is timed on."""

import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT


def test_it_refuses_at_once_without_a_gpu(tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho No devices were found\nexit 6\n")
    tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.run([ROOT / "tests/gpu"], env=environment, capture_output=True, text=True, timeout=10)
    assert process.returncode != 0 and process.stdout == ""
    assert "there is no GPU" in process.stderr and "No devices were found" in process.stderr


def test_the_table_sets_rates_beside_the_device_copy_and_pytorch(tmp_path):
    def row(name, milliseconds, **rates):
        return {"name": name, "run_type": "iteration", "real_time": milliseconds, "time_unit": "ms", **rates}

    evaluation = [row("evaluation/vgg16/gpu/real_time", 128.0, **{"images/s": 2000.0, "GMAC/s": 31000.0})]
    kernels = [row("copy", 1, bytes_per_second=4e12), row("quantize/2", 0.25, bytes_per_second=3e12, items_per_second=6e8)]
    pytorch = {"copy_bytes_per_second": 1e12, "rates": [
        {"network": "vgg16", "way": "eager", "images_per_second": 1500.0},
        {"network": "vgg16", "way": "compiled", "failed": "no compiler"},
    ]}
    files = {"bench_gpu_evaluation": {"benchmarks": evaluation}, "bench_gpu_quantize": {"benchmarks": kernels}, "torch": pytorch}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    def report(*benches):
        return subprocess.run(
            [sys.executable, ROOT / "tests/gpu_report.py", tmp_path / "gpu.json", "--benchmarks", *(tmp_path / f"{b}.json" for b in benches),
             "--pytorch", tmp_path / "torch.json", "--fact", "device=a GPU", "--fact", "commit=0123"],
            capture_output=True, text=True, timeout=10,
        )

    process = report("bench_gpu_evaluation", "bench_gpu_quantize")
    assert process.returncode == 0, process.stderr
    lines = {line.split()[0]: line.split() for line in process.stdout.splitlines() if line}
    assert lines["vgg16"] == ["vgg16", "2.00", "k", "31.0", "k", "-", "1.50", "k", "-"]
    assert lines["resnet18"] == ["resnet18", "-", "-", "-", "-", "-"]
    assert lines["quantize/2"] == ["quantize/2", "250", "us", "3000.0", "75", "%", "600", "M", "items/s"]
    assert "no compiler" in process.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["device"] == "a GPU" and written["commit"] == "0123" and len(written["benchmarks"]) == 3

    evaluation.append({"name": "evaluation/vgg16/cpu", "run_type": "iteration", "error_occurred": True, "error_message": "out of memory"})
    (tmp_path / "bench_gpu_evaluation.json").write_text(json.dumps({"benchmarks": evaluation}))
    process = report("bench_gpu_evaluation")
    assert process.returncode != 0 and "out of memory" in process.stderr


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16", "mobilenet_v2"])
def test_pytorch_networks_have_the_layers_of_torchvision(name):
    torch = pytest.importorskip("torch", reason="python3-torch is not installed")
    models = pytest.importorskip("torchvision", reason="python3-torchvision is not installed").models
    sys.path.insert(0, str(ROOT / "tests"))
    import gpu_pytorch

    def layers(network):
        """Weights and products of every layer, whatever their order."""
        found = []
        for module in network.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                module.register_forward_hook(
                    lambda m, _, output: found.append((tuple(m.weight.shape), output.numel() * m.weight[0].numel()))
                )
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, 224, 224))
        return sorted(found)

    assert layers(gpu_pytorch.NETWORKS[name]()) == layers(getattr(models, name)())
