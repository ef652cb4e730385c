"""Images per second of PyTorch on the first GPU, for tests/gpu: the networks of tests/bench_gpu_evaluation.cpp in bfloat16
and channels_last, batch normalization folded as it is there. Prints JSON; progress on stderr.

    python3 tests/gpu_pytorch.py [BATCH]
"""

import json
import statistics
import sys
import time

import torch
from torch import nn


def convolution(channels, filters, kernel, stride=1, groups=1, activation=nn.ReLU):
    layers = [nn.Conv2d(channels, filters, kernel, stride, kernel // 2, groups=groups)]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class Residual(nn.Module):
    def __init__(self, branch, shortcut, activation):
        super().__init__()
        self.branch, self.shortcut, self.activation = branch, shortcut, activation

    def forward(self, x):
        return self.activation(self.branch(x) + self.shortcut(x))


def resnet(blocks, bottleneck):
    """He et al., Deep Residual Learning, table 1."""
    layers, channels = [convolution(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        filters = 4 * width if bottleneck else width
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            if bottleneck:
                branch = [convolution(channels, width, 1), convolution(width, width, 3, stride)]
                branch.append(convolution(width, filters, 1, activation=None))
            else:
                branch = [convolution(channels, filters, 3, stride), convolution(filters, filters, 3, activation=None)]
            same = stride == 1 and channels == filters
            shortcut = nn.Identity() if same else convolution(channels, filters, 1, stride, activation=None)
            layers.append(Residual(nn.Sequential(*branch), shortcut, nn.ReLU(inplace=True)))
            channels = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000))


def vgg16():
    """Simonyan and Zisserman, Very Deep Convolutional Networks, table 1, configuration D."""
    layers, channels = [], 3
    for filters, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers.append(convolution(channels, filters, 3))
            channels = filters
        layers.append(nn.MaxPool2d(2, 2))
    hidden = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 4096), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Flatten(), *hidden, nn.Linear(4096, 1000))


def mobilenet_v2():
    """Sandler et al., MobileNetV2, table 2."""
    layers, channels = [convolution(3, 32, 3, 2, activation=nn.ReLU6)], 32
    rows = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, filters, count, stride_of_row in rows:
        for block in range(count):
            stride, width = stride_of_row if block == 0 else 1, expansion * channels
            branch = [] if expansion == 1 else [convolution(channels, width, 1, activation=nn.ReLU6)]
            branch.append(convolution(width, width, 3, stride, groups=width, activation=nn.ReLU6))
            branch.append(convolution(width, filters, 1, activation=None))
            branch = nn.Sequential(*branch)
            same = stride == 1 and channels == filters
            layers.append(Residual(branch, nn.Identity(), nn.Identity()) if same else branch)
            channels = filters
    layers.append(convolution(channels, 1280, 1, activation=nn.ReLU6))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 1000))


NETWORKS = {
    "resnet18": lambda: resnet((2, 2, 2, 2), False),
    "resnet50": lambda: resnet((3, 4, 6, 3), True),
    "vgg16": vgg16,
    "mobilenet_v2": mobilenet_v2,
}


def seconds(work, least=1.5):
    """Median over at least `least` seconds, after a warm-up."""
    for _ in range(5):
        work()
    torch.cuda.synchronize()
    times, end = [], time.monotonic() + least
    while time.monotonic() < end or len(times) < 5:
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        work()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) * 1e-3)
    return statistics.median(times)


def graph_of(work):
    """The same work as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def ways(name, batch):
    """(way, function that prepares the work): images in GPU memory, then from bytes to logits in host memory."""
    model = NETWORKS[name]().eval().to("cuda", torch.bfloat16, memory_format=torch.channels_last)
    images = torch.randn(batch, 3, 224, 224, device="cuda", dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    pixels = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8).pin_memory()
    compiled = torch.compile(model, mode="reduce-overhead")

    def from_host(network):
        values = pixels.to("cuda", non_blocking=True).permute(0, 3, 1, 2).to(torch.bfloat16) / 255  # stays channels_last
        return network(values).float().cpu()

    yield "eager", lambda: lambda: model(images)
    yield "CUDA graph", lambda: graph_of(lambda: model(images))
    yield "compiled", lambda: lambda: compiled(images)
    yield "compiled, from host", lambda: lambda: from_host(compiled)


def copy_bytes_per_second():
    """Device memory to device memory, bytes read and bytes written."""
    source = torch.randint(0, 256, (1 << 30,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source), 0.5)


def main():
    if not torch.cuda.is_available():
        sys.exit("gpu_pytorch: PyTorch sees no GPU")
    batch = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    report = {"torch": torch.__version__, "batch": batch, "copy_bytes_per_second": copy_bytes_per_second(), "rates": []}
    torch.backends.cudnn.benchmark = True
    with torch.inference_mode():
        for name in NETWORKS:
            for way, prepare in ways(name, batch):
                row = {"network": name, "way": way}
                try:
                    row["images_per_second"] = batch / seconds(prepare())
                except Exception as error:  # a way that this PyTorch does not have must not cost the others
                    row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
                report["rates"].append(row)
                print(f"PyTorch {name}, {way}: {row.get('images_per_second', row.get('failed'))}", file=sys.stderr)
            if hasattr(torch, "_dynamo"):
                torch._dynamo.reset()
            torch.cuda.empty_cache()
    json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
