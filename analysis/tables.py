#!/usr/bin/python3
"""Prints a table of a BitCluster results file for other programs, and checks the arithmetic of /summary.

    analysis/tables.py results.h5 --format markdown
    analysis/tables.py results.h5 --table emulation --format csv
    analysis/tables.py results.h5 --check

The tables as a researcher reads them come from `bitcluster table results.h5`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from results import Results, ResultsError, load  # noqa: E402

GEOMETRIC_MEAN = "geometric mean"
IDLE = ["idle_edge", "idle_lane", "idle_row_column", "idle_null_term", "idle_memory"]
SHARES = ["utilisation", *IDLE]
SUMS = ["cycles", "compute_cycles", "energy_pj"]
RATIOS = [f"{name}_{side}" for side in ("m_bc", "l_bc")
          for name in ("speedup", "compute_speedup", "energy_ratio", "utilisation_ratio")]
KEY = ["model", "basis", "accelerator", "assignment"]


def printable(value: object) -> object:
    """A text as it may reach a terminal, on one line: what is not printable is escaped. Others as they are."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


def to_markdown(table: pd.DataFrame) -> str:
    """The table with numbers in six digits; not available is an empty cell."""
    def text(value: object) -> str:
        if isinstance(value, float):
            return f"{value:.6g}" if np.isfinite(value) else ""
        return str(value).replace("|", "\\|")

    names = [table[column].dtype == object for column in table.columns]
    rows = [list(table.columns), [":---" if name else "---:" for name in names]]
    rows += [[text(value) for value in row] for row in table.itertuples(index=False)]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def recompute(emulation: pd.DataFrame, accelerators: pd.DataFrame) -> pd.DataFrame:
    """Totals per image, shares, ratios and geometric means from /emulation and clocks alone, indexed by KEY."""
    counts = emulation[[*SUMS, "slots", "useful", *IDLE]].div(emulation["images"], axis=0)
    totals = counts.groupby([emulation[name] for name in KEY], sort=False).sum()
    slots = totals[["slots", "useful", *IDLE]].groupby(level=KEY[1:], sort=False).sum()
    slots = pd.concat({GEOMETRIC_MEAN: slots}, names=["model"])  # of all models together
    for table in (totals, slots):
        table[SHARES] = table[["useful", *IDLE]].div(table["slots"].where(table["slots"] > 0), axis=0).to_numpy()
    clocks = accelerators.set_index(["basis", "accelerator"])["clock_ghz"]
    clock = clocks.reindex(totals.index.droplevel(["model", "assignment"])).to_numpy()
    totals["time"], totals["compute_time"] = totals["cycles"] / clock, totals["compute_cycles"] / clock
    for side, assignment in (("m_bc", "M-BC"), ("l_bc", "L-BC")):
        ran = totals[totals.index.get_level_values("assignment") == assignment]
        first = ran.groupby(level=["model", "basis"], sort=False).head(1).droplevel(["accelerator", "assignment"])
        bitcluster = first.reindex(totals.index.droplevel(["accelerator", "assignment"])).set_axis(totals.index)
        for name, column in (("speedup", "time"), ("compute_speedup", "compute_time"), ("energy_ratio", "energy_pj")):
            totals[f"{name}_{side}"] = totals[column] / bitcluster[column]
        totals[f"utilisation_ratio_{side}"] = bitcluster["utilisation"] / totals["utilisation"]
    totals[RATIOS] = totals[RATIOS].where(np.isfinite(totals[RATIOS]) & (totals[RATIOS] > 0))
    means = np.exp(np.log(totals[RATIOS]).groupby(level=KEY[1:], sort=False).mean())
    means = pd.concat({GEOMETRIC_MEAN: means}, names=["model"]).join(slots[SHARES])
    return pd.concat([totals, means])[SUMS + SHARES + RATIOS]


def check_summary(results: Results, tolerance: float) -> list[str]:
    """Differences between /summary and what /emulation gives."""
    summary, emulation = results["summary"], results["emulation"]
    stored = summary[summary["accelerator"] != ""].set_index(KEY)
    if emulation.empty:
        return [] if stored.empty else ["/summary has rows of accelerators, /emulation is empty"]
    expected = recompute(emulation, results["accelerators"])
    problems = [f"{key}: in /emulation but not in /summary" for key in expected.index.difference(stored.index)]
    problems += [f"{key}: in /summary but not in /emulation" for key in stored.index.difference(expected.index)]
    problems += [f"{key}: twice in /summary" for key in stored.index[stored.index.duplicated()]]
    for key in expected.index.intersection(stored.index.unique()):
        for column in expected.columns:
            want, have = expected.loc[key, column], stored.loc[[key], column].iloc[0]
            if not np.isclose(have, want, rtol=tolerance, atol=0, equal_nan=True):
                problems.append(f"{key}: {column} is {have}, /emulation gives {want}")
    return problems


def check_arrays(results: Results, tolerance: float) -> list[str]:
    """Rows of /emulation whose slots do not add up or do not belong to the array of /accelerators."""
    accelerators, emulation = results["accelerators"], results["emulation"]
    problems = [f"/accelerators: {row.basis}, {row.accelerator}: array_mm2 is {row.array_mm2}, its slots take {area}"
                for row in accelerators.itertuples()
                if not np.isclose(row.array_mm2, area := row.slots_per_cycle * row.lane_um2 * 1e-6, rtol=tolerance)]
    rows = emulation.merge(accelerators[["basis", "accelerator", "slots_per_cycle"]], how="left")
    for column, wrong in (("slots_per_cycle x cycles", rows["slots"] != rows["slots_per_cycle"] * rows["cycles"]),
                          ("useful + idle", rows["slots"] != rows[["useful", *IDLE]].sum(axis=1))):
        problems += [f"/emulation: {tuple(row[name] for name in [*KEY, 'layer'])}: slots are not {column}"
                     for _, row in rows[wrong].iterrows()]
    return problems


def check(results: Results, tolerance: float = 1e-9) -> list[str]:
    """What is wrong with the arithmetic of a results file; empty if nothing is.

    The tolerance is relative: both sides add up to some thousand doubles in another order, 1e-13 each.
    """
    return check_arrays(results, tolerance) + check_summary(results, tolerance)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="results file (HDF5)")
    parser.add_argument("--table", default="summary", help="table to print (default: summary)")
    parser.add_argument("--format", choices=["markdown", "csv"], default="markdown")
    parser.add_argument("--check", action="store_true",
                        help="recompute sums, shares, ratios and geometric means from /emulation; fail if /summary differs")
    arguments = parser.parse_args()
    try:
        results = load(arguments.results)
        if arguments.table not in results:
            raise ResultsError(f"cannot print '{arguments.table}': '{arguments.results}' has no such table; "
                               f"use one of {', '.join(results)}")
    except ResultsError as error:
        print(f"tables.py: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        problems = check(results)
        print(*map(printable, problems), sep="\n", file=sys.stderr, end="\n" if problems else "")
        text = f"{len(problems)} differences between what is stored and what /emulation gives\n"
    else:
        problems = []
        table = results[arguments.table].rename(columns=printable)
        for name in table.columns[table.dtypes == object]:
            table[name] = table[name].map(printable)
        text = table.to_csv(index=False) if arguments.format == "csv" else to_markdown(table)
    try:
        print(text, end="", flush=True)
    except OSError as error:
        print(f"tables.py: cannot print to the standard output: {error}; free some space or print elsewhere", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to flush at the end
        return 1
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
