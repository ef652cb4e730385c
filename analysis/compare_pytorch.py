#!/usr/bin/env python3
"""Images per second of our integer evaluation beside PyTorch in float32, on the same machine and in the same run.

PyTorch gets its best: NCHW and channels_last, eager and traced + frozen + optimize_for_inference (which folds batch
normalization), every batch size asked for. A first pass finds the fastest of these; then it and our side alternate, so
that both see the same noise, and the ratio is that of the medians.
"""

import argparse
import concurrent.futures
import itertools
import json
import math
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parent.parent


def load(path, batch, layout, frozen, threads):
    """Prepares one way to run the network; what measure() then times."""
    global network, example
    import torch
    from torch_onnx import OnnxNetwork

    torch.set_num_threads(threads)
    memory_format = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
    network = OnnxNetwork(path).eval().to(memory_format=memory_format)
    example = torch.rand(batch, *network.shape).to(memory_format=memory_format)
    if frozen:
        network = torch.jit.trace(network, example, check_trace=False)
        network = torch.jit.optimize_for_inference(torch.jit.freeze(network))
    measure(0)  # the first calls of a frozen network still compile
    measure(0)


def measure(seconds):
    """Images per second over at least one batch and about the given time, after one batch to warm up."""
    import torch

    with torch.inference_mode():
        network(example)
        done, start = 0, time.perf_counter()
        while done == 0 or time.perf_counter() - start < seconds:
            network(example)
            done += len(example)
        return done / (time.perf_counter() - start)


def start_pytorch(*arguments):
    """A process of its own, arguments as for load(): one process that runs several variants in turn fragments its heap,
    and PyTorch then takes up to four times as long."""
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, mp_context=context, initializer=load, initargs=arguments)


def our_speed(program, path, images, options):
    """Description of the backend and images per second of one evaluation."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    command = [program, path, images, str(options.images), "1"]
    if options.avx2:
        command.append("avx2")
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(f"{path}: {process.stderr.strip()}")
    answer = json.loads(process.stdout)
    return answer["backend"], answer["images_per_second"][0]


def describe(batch, layout, frozen):
    return f"batch {batch}, {layout}, {'frozen' if frozen else 'eager'}"


def compare(path, options, folder):
    """Prints the comparison for one network; returns the ratio of the medians."""
    import torch
    from torch_onnx import OnnxNetwork

    tried = []
    for variant in itertools.product(options.batch, ("NCHW", "channels_last"), (False, True)):
        with start_pytorch(path, *variant, options.threads) as pytorch:
            tried.append((pytorch.submit(measure, options.seconds).result(), variant))
        print(f"  PyTorch, {describe(*variant)}: {tried[-1][0]:.1f} images/s", flush=True)
    best = max(tried)[1]

    images = Path(folder) / "images.u8"
    size = options.images * math.prod(OnnxNetwork(path).shape)
    numpy.random.default_rng(1).integers(0, 256, size, dtype=numpy.uint8).tofile(images)
    program = options.build / "tests" / "time_evaluation"
    ours, theirs = [], []
    with start_pytorch(path, *best, options.threads) as pytorch:
        for _ in range(options.repeats):
            theirs.append(pytorch.submit(measure, options.seconds).result())
            backend, speed = our_speed(program, path, images, options)
            ours.append(speed)
    our, their = statistics.median(ours), statistics.median(theirs)
    print(f"  ours, {backend}: {our:.1f} images/s ({min(ours):.1f} to {max(ours):.1f})")
    print(f"  PyTorch {torch.__version__}, {describe(*best)}: {their:.1f} images/s ({min(theirs):.1f} to {max(theirs):.1f})")
    print(f"  ratio {our / their:.2f}", flush=True)
    return our / their


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="+", type=Path, help="ONNX files")
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 250], help="batch sizes of PyTorch")
    parser.add_argument("--images", type=int, default=250, help="images of one evaluation on our side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5, help="alternations")
    parser.add_argument("--seconds", type=float, default=2, help="time of one PyTorch measurement")
    parser.add_argument("--avx2", action="store_true", help="both sides without AVX-512, as on an older processor")
    parser.add_argument("--build", type=Path, default=Path(os.environ.get("BITCLUSTER_BUILD", ROOT / "build")))
    options = parser.parse_args()
    if options.avx2:  # read by PyTorch, its oneDNN and its BLAS in the processes that are started
        os.environ.update(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", DNNL_MAX_CPU_ISA="AVX2")
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        print(f"skipped: {error.name} is not installed; install python3-torch and python3-onnx to compare")
        return
    if not (options.build / "tests" / "time_evaluation").exists():
        sys.exit(f"{options.build}/tests/time_evaluation is not there: the tests are not built; build them or give --build")
    with tempfile.TemporaryDirectory() as folder:
        for path in options.model:
            print(f"{path.name}, {options.threads} threads", flush=True)
            compare(path, options, folder)


if __name__ == "__main__":
    main()
