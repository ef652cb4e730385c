"""Gathers what tests/gpu measured into one JSON file and prints a short table. Standard library only.

    python3 tests/gpu_report.py OUTPUT.json --benchmarks bench_gpu_*.json [--pytorch FILE.json] [--fact NAME=VALUE ...]
"""

import argparse
import json
import pathlib
import sys

NETWORKS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2")
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def read_benchmarks(path):
    """The rows of one Google Benchmark file: program, name, seconds or error, and every rate."""
    for found in json.loads(path.read_text())["benchmarks"]:
        if found.get("run_type", "iteration") != "iteration":
            continue
        row = {"program": path.stem, "name": found["name"].removesuffix("/real_time")}
        if found.get("error_occurred"):
            row["failed"] = found["error_message"]
        else:
            row["seconds"] = found["real_time"] * SECONDS[found["time_unit"]]
            row["rates"] = {key: value for key, value in found.items() if key.endswith(("/s", "_per_second"))}
            row["label"] = found.get("label", "")
        yield row


def short(number):
    """Three digits with a unit prefix."""
    for prefix in ("", "k", "M", "G"):
        if abs(number) < 999.5:
            break
        number /= 1000
    else:
        prefix = "T"
    digits = 0 if number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f}{' ' + prefix if prefix else ''}"


def print_table(title, rows):
    """The first row is the head; the first column is text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))) for row in rows]
    print(f"\n{title}", lines[0], "-" * len(lines[0]), *lines[1:], sep="\n")


def evaluation_table(benchmarks, pytorch):
    def rate(name, key):
        row = benchmarks.get(f"evaluation/{name}")
        return short(row["rates"][key]) if row and "rates" in row else "-"

    ways = list(dict.fromkeys(row["way"] for row in pytorch["rates"]))
    rates = {(row["network"], row["way"]): row.get("images_per_second") for row in pytorch["rates"]}
    head = ["network", "GPU", "GMAC/s", "CPU"] + [f"PyTorch {way}" for way in ways]
    rows = [head]
    for name in NETWORKS:
        beside = [rates.get((name, way)) for way in ways]
        own = [rate(f"{name}/gpu", "images/s"), rate(f"{name}/gpu", "GMAC/s"), rate(f"{name}/cpu", "images/s")]
        rows.append([name, *own, *(short(value) if value else "-" for value in beside)])
    print_table("Images per second, 224 x 224, batch 256, CPU 8: int8 from host to host memory; PyTorch bfloat16, in GPU "
                "memory unless it says otherwise", rows)
    sweep = benchmarks.get("evaluation/resnet50_sensitivity/gpu/iterations:1")
    if sweep and "rates" in sweep:
        print(f"sensitivity sweep of resnet50, {sweep['label']}: {sweep['seconds']:.2f} s, "
              f"{short(sweep['rates']['images/s'])} images/s")


def kernel_table(program, benchmarks, copy):
    """Everything else that has a rate; bytes per second beside what a device copy reaches."""
    rows = [["benchmark", "time", "GB/s", "of copy", "rate"]]
    for row in benchmarks:
        if row["program"] != program or "rates" not in row:
            continue
        byte_rate = row["rates"].get("bytes_per_second")
        others = [f"{short(value)} {key.removesuffix('_per_second').removesuffix('/s')}/s"
                  for key, value in row["rates"].items() if key != "bytes_per_second"]
        rows.append([
            row["name"],
            short(row["seconds"] * 1e6) + " us",
            f"{byte_rate * 1e-9:.1f}" if byte_rate else "-",
            f"{100 * byte_rate / copy:.0f} %" if byte_rate and copy else "-",
            ", ".join(others) or "-",
        ])
    if len(rows) > 1:
        print_table(program, rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--benchmarks", type=pathlib.Path, nargs="+", required=True)
    parser.add_argument("--pytorch", type=pathlib.Path)
    parser.add_argument("--fact", action="append", default=[], help="NAME=VALUE")
    options = parser.parse_args()

    rows = [row for path in options.benchmarks for row in read_benchmarks(path)]
    pytorch = json.loads(options.pytorch.read_text()) if options.pytorch else {"rates": []}
    facts = dict(fact.split("=", 1) for fact in options.fact)
    options.output.write_text(json.dumps({**facts, "benchmarks": rows, "pytorch": pytorch}, indent=1) + "\n")

    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    evaluation_table({row["name"]: row for row in rows}, pytorch)
    copies = [row["rates"]["bytes_per_second"] for row in rows
              if "copy" in row["name"] and "bytes_per_second" in row.get("rates", {})]
    copy = max(copies, default=pytorch.get("copy_bytes_per_second"))
    if copy:
        print(f"device copy: {copy * 1e-9:.0f} GB/s read and written")
    for program in dict.fromkeys(row["program"] for row in rows):
        if program != "bench_gpu_evaluation":
            kernel_table(program, rows, copy)
    failed = [row for row in rows + pytorch["rates"] if "failed" in row]
    for row in failed:
        name = row.get("name") or f"PyTorch {row['network']}, {row['way']}"
        print(f"gpu_report: {name} failed: {row['failed']}", file=sys.stderr)
    return 1 if any("program" in row for row in failed) else 0


if __name__ == "__main__":
    sys.exit(main())
