#!/usr/bin/python3
"""Prints the comparison of all models of a BitCluster results file, and checks its arithmetic.

    analysis/tables.py results.h5 --format markdown
    analysis/tables.py results.h5 --check
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent))
from results import Results, ResultsError, load  # noqa: E402

GEOMETRIC_MEAN = "geometric mean"
RATIOS = ["utilisation_ratio_m_bc", "speedup_m_bc", "energy_ratio_m_bc",
          "utilisation_ratio_l_bc", "speedup_l_bc", "energy_ratio_l_bc"]
RATIO_TITLES = ["M util.", "M speed", "M energy", "L util.", "L speed", "L energy"]
# A. Li et al., BitCluster, IEEE TCAD 41(11), 2022, doi 10.1109/tcad.2022.3146202: average over six CNNs
CLAIM = {"L util.": "1.60", "L speed": "3.40", "L energy": "5.00"}
KEY = ["model", "accelerator", "assignment"]


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _percent(fraction: float) -> str:
    return _number(100 * fraction)


def _loss(row: pd.Series) -> str:
    if not np.isfinite(row["loss"]):
        return "-"
    return f"{_percent(row['loss'])} [{_percent(row['loss_low'])}, {_percent(row['loss_high'])}]"


def accuracy_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Top-1 accuracy in percent, one row per model."""
    rows = []
    models = summary[summary["model"] != GEOMETRIC_MEAN]
    for model, group in models.groupby("model", sort=False):
        if group[["float_top1", "top1"]].isna().all(axis=None):
            continue  # emulation alone
        of = {name: part.iloc[0] for name, part in group.groupby("assignment", sort=False)}
        missing = pd.Series(np.nan, index=summary.columns)
        integer, m_bc, l_bc = (of.get(name, missing) for name in ("integer", "M-BC", "L-BC"))
        rows.append([model, _percent(group["float_top1"].iloc[0]), _percent(integer["top1"]), _percent(m_bc["top1"]),
                     f"{m_bc['terms_mean']:g}" if np.isfinite(m_bc["terms_mean"]) else "-", _loss(m_bc),
                     _percent(l_bc["top1"]), _number(l_bc["terms_mean"]), _loss(l_bc)])
    return pd.DataFrame(rows, columns=["model", "float", "integer", "M-BC", "N", "M-BC loss", "L-BC", "mean N",
                                       "L-BC loss"])


def emulation_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Cycles, utilisation and energy of every model on every accelerator, and BitCluster's advantage."""
    rows = []
    emulated = summary[(summary["model"] != GEOMETRIC_MEAN) & (summary["accelerator"] != "")]
    for _, row in emulated.iterrows():
        rows.append([row["model"], row["accelerator"], row["assignment"], _number(row["cycles"], 0),
                     _number(100 * row["utilisation"], 1), _number(row["energy_pj"] * 1e-6),
                     _number(row["speedup_m_bc"]), _number(row["energy_ratio_m_bc"]), _number(row["speedup_l_bc"]),
                     _number(row["energy_ratio_l_bc"])])
    return pd.DataFrame(rows, columns=["model", "accelerator", "weights", "cycles", "util. %", "energy uJ", "M speed",
                                       "M energy", "L speed", "L energy"])


def means_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over the models, beside the published claim."""
    means = summary[summary["model"] == GEOMETRIC_MEAN]
    rows = [[row["accelerator"], row["assignment"]] + [_number(row[name]) for name in RATIOS]
            for _, row in means.iterrows()]
    table = pd.DataFrame(rows, columns=["against", "weights"] + RATIO_TITLES)
    if rows:
        table.loc[len(table)] = {"against": "claim [TCAD'22]", **{name: CLAIM.get(name, "")
                                                                  for name in ["weights"] + RATIO_TITLES}}
    return table


def _print_text(table: pd.DataFrame, names: int) -> None:
    widths = [max([len(header)] + [len(cell) for cell in table[header]]) for header in table.columns]
    for cells in [list(table.columns)] + table.to_numpy().tolist():
        line = "  ".join(cell.ljust(width) if place < names else cell.rjust(width)
                         for place, (cell, width) in enumerate(zip(cells, widths)))
        print(line.rstrip())


def _print_markdown(table: pd.DataFrame, names: int) -> None:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    print(line(list(table.columns)))
    print(line([":---" if place < names else "---:" for place in range(len(table.columns))]))
    for cells in table.to_numpy().tolist():
        print(line(cells))


def print_tables(results: Results, table_format: str) -> None:
    """Prints the tables as text, markdown or csv (the raw summary)."""
    summary = results["summary"]
    if table_format == "csv":
        summary.to_csv(sys.stdout, index=False)
        return
    sections = [("Top-1 accuracy on the test split [%]; loss against float, same images, with its 95 % interval",
                 accuracy_table(summary), 1),
                ("Emulation; speed and energy: how many times better BitCluster is",
                 emulation_table(summary), 3),
                ("Geometric means over the models: how many times better BitCluster is", means_table(summary), 2),
                ("Skipped", results["skipped"].astype(str), 4)]
    for title, table, names in sections:
        if table.empty:
            continue
        print(f"**{title}**\n" if table_format == "markdown" else title)
        (_print_markdown if table_format == "markdown" else _print_text)(table, names)
        print()


def recompute(emulation: pd.DataFrame) -> pd.DataFrame:
    """Totals, ratios and geometric means from /emulation alone, indexed by model, accelerator, assignment."""
    totals = emulation.groupby(KEY, sort=False)[["cycles", "useful", "slots", "energy_pj"]].sum()
    totals["utilisation"] = totals["useful"] / totals["slots"].where(totals["slots"] > 0)
    models = totals.index.get_level_values("model")
    for suffix, assignment in (("m_bc", "M-BC"), ("l_bc", "L-BC")):
        side = totals.xs(assignment, level="assignment") if assignment in totals.index.get_level_values(2) else None
        first = None if side is None else side.groupby(level="model", sort=False).nth(0).reset_index().set_index("model")
        for name, column in (("speedup", "cycles"), ("energy_ratio", "energy_pj")):
            of_bitcluster = np.nan if first is None else first[column].reindex(models).to_numpy()
            totals[f"{name}_{suffix}"] = totals[column] / of_bitcluster
        of_bitcluster = np.nan if first is None else first["utilisation"].reindex(models).to_numpy()
        totals[f"utilisation_ratio_{suffix}"] = of_bitcluster / totals["utilisation"]
    totals[RATIOS] = totals[RATIOS].where(np.isfinite(totals[RATIOS]) & (totals[RATIOS] > 0))
    means = np.exp(np.log(totals[RATIOS]).groupby(level=["accelerator", "assignment"], sort=False).mean())
    means = pd.concat({GEOMETRIC_MEAN: means}, names=["model"])
    return pd.concat([totals, means])[["cycles", "utilisation", "energy_pj"] + RATIOS]


def check(results: Results, tolerance: float = 1e-9) -> list[str]:
    """Differences between /summary and what /emulation gives; empty if they agree.

    The tolerance is relative: both sides add up to some thousand doubles in another order, 1e-13 each.
    """
    summary = results["summary"]
    stored = summary[summary["accelerator"] != ""].set_index(KEY)
    if results["emulation"].empty:
        return [] if stored.empty else ["/summary has rows of accelerators, /emulation is empty"]
    expected = recompute(results["emulation"])
    problems = [f"{key}: in /emulation but not in /summary" for key in expected.index.difference(stored.index)]
    problems += [f"{key}: in /summary but not in /emulation" for key in stored.index.difference(expected.index)]
    problems += [f"{key}: twice in /summary" for key in stored.index[stored.index.duplicated()]]
    for key in expected.index.intersection(stored.index.unique()):
        for column in expected.columns:
            want, have = expected.loc[key, column], stored.loc[[key], column].iloc[0]
            if not np.isclose(have, want, rtol=tolerance, atol=0, equal_nan=True):
                problems.append(f"{key}: {column} is {have}, /emulation gives {want}")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", help="results file (HDF5)")
    parser.add_argument("--format", choices=["text", "markdown", "csv"], default="text")
    parser.add_argument("--check", action="store_true",
                        help="recompute ratios and geometric means from /emulation; fail if /summary differs")
    arguments = parser.parse_args()
    try:
        results = load(arguments.results)
    except ResultsError as error:
        print(f"tables.py: {error}", file=sys.stderr)
        return 1
    if not arguments.check:
        print_tables(results, arguments.format)
        return 0
    problems = check(results)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(problems)} differences between /summary and /emulation")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
