#!/usr/bin/env python3
"""Time of a whole layerwise search beside a straightforward PyTorch loop, on the same machine, images and budget.

The loop is what one writes without this project: float32 activations, every layer at every N evaluated on all images of the
search split, then the smallest N of each layer whose own loss stays below a limit, the limit found by bisection so that the
whole network keeps within the budget, and a last evaluation on the test split. PyTorch gets its best: eager NCHW and
channels_last, and traced + frozen + optimize_for_inference (frozen again for every change of weights), at the batch
sizes asked for; the fastest of these, measured first and not counted, runs the loop. Data is CIFAR-10's binary version.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parent.parent
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BITS = 8


def read_cifar(path, first, count):
    records = numpy.fromfile(path, numpy.uint8).reshape(-1, 3073)[first:first + count]
    images = records[:, 1:].reshape(-1, 3, 32, 32).astype(numpy.float32) / 255
    return (images - numpy.array(MEAN, numpy.float32)[:, None, None]) / numpy.array(STD, numpy.float32)[:, None, None], \
        records[:, 0].astype(numpy.int64)


def quantize(weights, terms):
    """Every weight of a filter to the nearest magnitude of at most `terms` set bits, at the best of 60 scales."""
    import torch

    levels = torch.tensor([m for m in range(2 ** (BITS - 1)) if m.bit_count() <= terms], dtype=torch.float32)
    middles = (levels[1:] + levels[:-1]) / 2
    rows = weights.reshape(len(weights), -1)
    largest = rows.abs().amax(1, keepdim=True).clamp_min(1e-12)
    best, error = rows, torch.full((len(rows), 1), float("inf"))
    for part in torch.linspace(0.4, 1.6, 60):
        scale = part * largest / levels[-1]
        rounded = levels[torch.bucketize(rows.abs() / scale, middles)] * scale * rows.sign()
        now = ((rounded - rows) ** 2).sum(1, keepdim=True)
        best, error = torch.where(now < error, rounded, best), torch.minimum(now, error)
    return best.reshape(weights.shape)


class Loop:
    """The network in one way to run it, with changeable weights."""

    def __init__(self, path, layout, frozen, batch):
        import torch
        from torch_onnx import OnnxNetwork

        self.torch, self.frozen, self.batch = torch, frozen, batch
        self.format = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
        self.network = OnnxNetwork(path).eval()
        weights = [inputs[1] for _, _, inputs, _ in self.network.nodes
                   if len(inputs) > 1 and inputs[1] in self.network.names]
        self.buffers = [self.network.names[name] for name in weights
                        if getattr(self.network, self.network.names[name]).dim() in (2, 4)]
        self.network = self.network.to(memory_format=self.format)
        self.floats = [getattr(self.network, name).clone() for name in self.buffers]
        self.runner = None

    def set(self, layer, weights):
        getattr(self.network, self.buffers[layer]).copy_(weights)
        self.runner = None

    def losses(self, images, labels):
        """Top-1 accuracy and mean cross entropy."""
        torch = self.torch
        with torch.inference_mode():
            if self.runner is None:
                self.runner = self.network
                if self.frozen:
                    example = torch.from_numpy(images[:self.batch]).to(memory_format=self.format)
                    traced = torch.jit.trace(self.network, example, check_trace=False)
                    self.runner = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
            right, entropy = 0, 0.0
            for first in range(0, len(images), self.batch):
                part = torch.from_numpy(images[first:first + self.batch]).to(memory_format=self.format)
                target = torch.from_numpy(labels[first:first + self.batch])
                logits = self.runner(part)
                right += int((logits.argmax(1) == target).sum())
                entropy += float(torch.nn.functional.cross_entropy(logits, target, reduction="sum"))
        return right / len(images), entropy / len(images)


def search(loop, candidates, budget, images, labels, test_images, test_labels):
    """The whole loop; returns the chosen N by layer, its loss on both splits, and how many evaluations it took."""
    layers = range(len(loop.buffers))
    base, base_entropy = loop.losses(images, labels)
    quantized = {(layer, n): quantize(loop.floats[layer], n) for layer in layers for n in candidates}
    damage, evaluations = {}, 1
    for layer in layers:
        for n in candidates:
            loop.set(layer, quantized[layer, n])
            damage[layer, n] = loop.losses(images, labels)[1] - base_entropy
            evaluations += 1
        loop.set(layer, loop.floats[layer])

    def choose(limit):
        return [next((n for n in candidates if damage[layer, n] <= limit), candidates[-1]) for layer in layers]

    def apply(choice):
        for layer, n in enumerate(choice):
            loop.set(layer, quantized[layer, n])

    low, high, best = -1.0, max(damage.values()), None
    for _ in range(8):
        limit = (low + high) / 2 if best or low >= 0 else 0.0
        choice = choose(limit)
        apply(choice)
        loss = base - loop.losses(images, labels)[0]
        evaluations += 1
        if loss <= budget:
            low, best = limit, (choice, loss)
        elif low < 0:
            break  # even what does no damage by itself is too much
        else:
            high = limit
    if best is None:
        return None, None, None, evaluations
    for layer in layers:
        loop.set(layer, loop.floats[layer])
    test_base = loop.losses(test_images, test_labels)[0]
    apply(best[0])
    return best[0], best[1], test_base - loop.losses(test_images, test_labels)[0], evaluations + 2


def our_search(options, folder):
    """Seconds of `bitcluster search` on the same images, and what it printed."""
    (folder / "data.toml").write_text(f"""
format = "cifar10"
[preprocess]
scale = 0.00392156862745098
mean = {list(MEAN)}
std = {list(STD)}
channels = "RGB"
[splits.calibration]
files = ["{options.calibration.resolve()}"]
count = 256
[splits.search]
files = ["{options.images.resolve()}"]
count = {options.search}
[splits.test]
files = ["{options.images.resolve()}"]
first = {options.search}
count = {options.test}
""")
    (folder / "config.toml").write_text(f"""
data = "data.toml"
[[models]]
name = "{options.model.stem}"
onnx = "{options.model.resolve()}"
[search]
terms = {options.terms}
rounding = "{options.rounding}"
validation = 0                        # as in the loop, all images choose
probes = {options.probes}
patience = {options.patience}
sensitivity_images = {options.sensitivity_images}
budget = {options.budget}
confident = {str(options.confident).lower()}
[emulation]
accelerators = ["{ROOT}/configs/accelerators/bitcluster.toml"]
""")
    command = [options.build / "bitcluster", "--threads", str(options.threads), "search", folder / "config.toml", "-o",
               folder / "results.h5", "--backend", "cpu"]
    (folder / "results.h5").unlink(missing_ok=True)
    start = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        sys.exit(process.stderr)
    return seconds, process.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="ONNX file of a CIFAR-10 network")
    parser.add_argument("images", type=Path, help="CIFAR-10 binary file: search split first, then test split")
    parser.add_argument("calibration", type=Path, help="CIFAR-10 binary file for our calibration")
    parser.add_argument("--search", type=int, default=4000, help="images of the search split")
    parser.add_argument("--test", type=int, default=6000, help="images of the test split")
    parser.add_argument("--terms", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--budget", type=float, default=0.01)
    parser.add_argument("--confident", action="store_true",
                        help="our side keeps the upper end of the 95 %% interval within the budget, not just the loss")
    parser.add_argument("--rounding", choices=["nearest", "compensated"], default="nearest", help="of our weights")
    parser.add_argument("--probes", type=int, default=1, help="our assignments per round; 1 takes the fewest in all")
    parser.add_argument("--patience", type=int, default=3, help="our assignments in a row that may be no better")
    parser.add_argument("--sensitivity-images", type=int, default=512, help="our images for the sensitivities")
    parser.add_argument("--batch", type=int, nargs="+", default=[50, 250, 1000], help="batch sizes of PyTorch")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=1, help="runs of our side, before and after the loop")
    parser.add_argument("--build", type=Path, default=Path(os.environ.get("BITCLUSTER_BUILD", ROOT / "build")))
    options = parser.parse_args()
    try:
        import onnx  # noqa: F401
        import torch
    except ImportError as error:
        print(f"skipped: {error.name} is not installed; install python3-torch and python3-onnx to compare")
        return
    torch.set_num_threads(options.threads)
    images, labels = read_cifar(options.images, 0, options.search)
    test_images, test_labels = read_cifar(options.images, options.search, options.test)

    tried = []
    for batch in options.batch:
        for layout in ("NCHW", "channels_last"):
            for frozen in (False, True):
                loop = Loop(options.model, layout, frozen, batch)
                loop.losses(images[:2 * batch], labels[:2 * batch])
                loop.set(0, loop.floats[0])  # so that freezing counts
                start = time.perf_counter()
                loop.losses(images, labels)
                tried.append((time.perf_counter() - start, batch, layout, frozen))
                print(f"  PyTorch, batch {batch}, {layout}, {'frozen' if frozen else 'eager'}: "
                      f"{tried[-1][0]:.2f} s for one evaluation", flush=True)
    _, batch, layout, frozen = min(tried)

    with tempfile.TemporaryDirectory() as folder:
        ours = [our_search(options, Path(folder)) for _ in range(options.repeats)]
        loop = Loop(options.model, layout, frozen, batch)
        start = time.perf_counter()
        choice, loss, test_loss, evaluations = search(loop, sorted(options.terms), options.budget, images, labels,
                                                      test_images, test_labels)
        theirs = time.perf_counter() - start
        ours += [our_search(options, Path(folder)) for _ in range(options.repeats)]
    print(ours[-1][1])
    sizes = [weights.numel() for weights in loop.floats]
    mean = sum(n * size for n, size in zip(choice, sizes)) / sum(sizes) if choice else float("nan")
    print(f"PyTorch {torch.__version__}, batch {batch}, {layout}, {'frozen' if frozen else 'eager'}: {theirs:.1f} s, "
          f"{evaluations} evaluations, mean N {mean:.2f}, loss {100 * loss:.2f} % (search), {100 * test_loss:.2f} % (test)"
          if choice else f"PyTorch: {theirs:.1f} s, nothing within the budget")
    seconds = sorted(second for second, _ in ours)
    print(f"ours: {', '.join(f'{second:.1f}' for second in seconds)} s; ratio {theirs / seconds[len(seconds) // 2]:.1f}")


if __name__ == "__main__":
    main()
