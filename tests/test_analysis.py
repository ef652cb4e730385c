"""Tests of analysis/results.py and tables.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import results
import tables

ROOT = Path(__file__).resolve().parents[1]
NAN = float("nan")

EVALUATIONS = ["model", "assignment", "split", "top1"]
ACCELERATORS = ["basis", "accelerator", "slots_per_cycle", "lane_um2", "array_mm2", "clock_ghz"]
EMULATION = ["model", "assignment", "basis", "accelerator", "layer", "images", "cycles", "compute_cycles", "slots",
             "useful", "idle_edge", "idle_lane", "idle_row_column", "idle_null_term", "idle_memory", "energy_pj"]
SUMMARY = ["model", "basis", "assignment", "accelerator", "float_top1", "top1", "loss", "loss_low", "loss_high",
           "terms_mean", "cycles", "compute_cycles", "energy_pj", "utilisation", "idle_edge", "idle_lane",
           "idle_row_column", "idle_null_term", "idle_memory",
           "speedup_m_bc", "compute_speedup_m_bc", "energy_ratio_m_bc", "utilisation_ratio_m_bc",
           "speedup_l_bc", "compute_speedup_l_bc", "energy_ratio_l_bc", "utilisation_ratio_l_bc"]
SKIPPED = ["model", "stage", "subject", "reason"]

# Ratios worked by hand. Equal throughput, per image: Stripes 800 cycles (500 without memory) and 6 pJ at 30 %, BitPruner
# on Pragmatic 500 and 5 at 40 %, M-BC 400 and 3 at 60 %, L-BC 200 (100) and 2 at 60 %. Equal area: Stripes 2400 and 8.
ACCELERATOR_ROWS = [("throughput", "Stripes", 10, 4e4, .4, 2.), ("throughput", "Pragmatic", 8, 2e4, .16, 2.),
                    ("throughput", "BitCluster", 5, 16e3, .08, 2.), ("area", "Stripes", 2, 4e4, .08, 2.),
                    ("area", "BitCluster", 5, 16e3, .08, 2.)]
EMULATION_ROWS = [
    ("one", "integer", "throughput", "Stripes", "a", 1, 600, 300, 6000, 600, 80, 0, 0, 2320, 3000, 4.0),
    ("one", "integer", "throughput", "Stripes", "b", 2, 400, 400, 4000, 3600, 0, 160, 240, 0, 0, 4.0),
    ("one", "BitPruner", "throughput", "Pragmatic", "a", 1, 500, 500, 4000, 1600, 0, 2400, 0, 0, 0, 5.0),
    ("one", "M-BC", "throughput", "BitCluster", "a", 1, 400, 400, 2000, 1200, 0, 0, 0, 800, 0, 3.0),
    ("one", "L-BC", "throughput", "BitCluster", "a", 1, 200, 100, 1000, 600, 0, 0, 0, 0, 400, 2.0),
    ("one", "integer", "area", "Stripes", "a", 3, 7200, 7200, 14400, 8640, 0, 0, 0, 5760, 0, 24.0),
    ("one", "L-BC", "area", "BitCluster", "a", 2, 400, 200, 2000, 1200, 0, 0, 0, 0, 800, 4.0),
    ("two", "integer", "throughput", "Stripes", "a", 1, 900, 900, 9000, 2250, 0, 0, 0, 6750, 0, 9.0),
    ("two", "L-BC", "throughput", "BitCluster", "a", 1, 100, 20, 500, 250, 0, 0, 0, 0, 250, 1.0)]
ACCURACY = {("one", "integer"): (.9, .899, .001, -.001, .003, 3.5), ("one", "M-BC"): (.9, .895, .005, .003, .007, 3.),
            ("one", "L-BC"): (.9, .892, .008, .006, .01, 2.25), ("two", "integer"): (.8, .8, 0., -.002, .002, 3.1),
            ("two", "L-BC"): (.8, .795, .005, .003, .007, 2.5), ("one", "BitPruner"): (.9, .88, .02, .018, .022, 2.75)}
NO_SIDE = [NAN] * 4
SUMMARY_ROWS = [
    ("one", "throughput", "integer", "Stripes", *ACCURACY["one", "integer"],
     800., 500., 6., .3, .01, .01, .015, .29, .375, 2., 1.25, 2., 2., 4., 5., 3., 2.),
    ("one", "throughput", "BitPruner", "Pragmatic", *ACCURACY["one", "BitPruner"],
     500., 500., 5., .4, 0., .6, 0., 0., 0., 1.25, 1.25, 5 / 3, 1.5, 2.5, 5., 2.5, 1.5),
    ("one", "throughput", "M-BC", "BitCluster", *ACCURACY["one", "M-BC"],
     400., 400., 3., .6, 0., 0., 0., .4, 0., 1., 1., 1., 1., 2., 4., 1.5, 1.),
    ("one", "throughput", "L-BC", "BitCluster", *ACCURACY["one", "L-BC"],
     200., 100., 2., .6, 0., 0., 0., 0., .4, .5, .25, 2 / 3, 1., 1., 1., 1., 1.),
    ("one", "area", "integer", "Stripes", *ACCURACY["one", "integer"],
     2400., 2400., 8., .6, 0., 0., 0., .4, 0., *NO_SIDE, 12., 24., 4., 1.),
    ("one", "area", "L-BC", "BitCluster", *ACCURACY["one", "L-BC"],
     200., 100., 2., .6, 0., 0., 0., 0., .4, *NO_SIDE, 1., 1., 1., 1.),
    ("two", "throughput", "integer", "Stripes", *ACCURACY["two", "integer"],
     900., 900., 9., .25, 0., 0., 0., .75, 0., *NO_SIDE, 9., 45., 9., 2.),
    ("two", "throughput", "L-BC", "BitCluster", *ACCURACY["two", "L-BC"],
     100., 20., 1., .5, 0., 0., 0., 0., .5, *NO_SIDE, 1., 1., 1., 1.),
    ("two", "", "BitPruner", "", .8, .79, .01, .008, .012, 2.5, *[NAN] * 17),
    # shares are of the slots of both models: of 17000 of Stripes, of 1500 of L-BC
    ("geometric mean", "throughput", "integer", "Stripes", *[NAN] * 9,
     4650 / 17000, 80 / 17000, 80 / 17000, 120 / 17000, 9070 / 17000, 3000 / 17000,
     2., 1.25, 2., 2., 6., 15., 27 ** .5, 2.),
    ("geometric mean", "throughput", "BitPruner", "Pragmatic", *[NAN] * 9,
     .4, 0., .6, 0., 0., 0., 1.25, 1.25, 5 / 3, 1.5, 2.5, 5., 2.5, 1.5),
    ("geometric mean", "throughput", "M-BC", "BitCluster", *[NAN] * 9,
     .6, 0., 0., 0., .4, 0., 1., 1., 1., 1., 2., 4., 1.5, 1.),
    ("geometric mean", "throughput", "L-BC", "BitCluster", *[NAN] * 9,
     850 / 1500, 0., 0., 0., 0., 650 / 1500, .5, .25, 2 / 3, 1., 1., 1., 1., 1.),
    ("geometric mean", "area", "integer", "Stripes", *[NAN] * 9, .6, 0., 0., 0., .4, 0., *NO_SIDE, 12., 24., 4., 1.),
    ("geometric mean", "area", "L-BC", "BitCluster", *[NAN] * 9, .6, 0., 0., 0., 0., .4, *NO_SIDE, 1., 1., 1., 1.)]


def put_table(file: h5py.File, name: str, columns: list[str], rows: list[tuple]) -> None:
    """A table in the layout of results files."""
    group = file.create_group(name, track_order=True)
    for place, column in enumerate(columns):
        values = [row[place] for row in rows]
        text = not values or isinstance(values[0], str)
        data = np.array([value.encode() for value in values], dtype="S70") if text else np.array(values)
        dataset = group.create_dataset(column, data=data, chunks=(max(1, len(values)),), maxshape=(None,))
        dataset.attrs["unit"] = "pJ" if column == "energy_pj" else "1"
        dataset.attrs["description"] = f"what {column} is"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.h5"
    with h5py.File(path, "w") as file:
        provenance = file.create_group("provenance")
        provenance.attrs.update({"schema_version": results.SCHEMA_VERSION, "program_version": "0.1.0", "git_commit": "abc",
                                 "date": "2022-02-02", "seed": 7, "ranks": 2})
        provenance.create_dataset("config", data=np.array([b"x = 1"]))
        provenance.create_dataset("devices", data=np.array([b"a: cpu", b"b: cuda"]))
        put_table(file, "evaluations", EVALUATIONS, [("one", "integer", "test", .899)])
        put_table(file, "accelerators", ACCELERATORS, ACCELERATOR_ROWS)
        put_table(file, "emulation", EMULATION, EMULATION_ROWS)
        put_table(file, "summary", SUMMARY, SUMMARY_ROWS)
        put_table(file, "skipped", SKIPPED, [("two", "search", "M-BC", "nothing is within the budget")])
        put_table(file, "layers", ["model", "layer"], [])
    return path


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, ROOT / "analysis" / script, *map(str, arguments)], capture_output=True,
                          text=True, check=False)


def test_load_gives_frames_with_units_and_provenance(sample: Path) -> None:
    data = results.load(sample)
    emulation = data["emulation"]
    assert list(emulation.columns) == EMULATION
    assert emulation["model"].tolist() == [row[0] for row in EMULATION_ROWS]
    assert emulation["cycles"].tolist() == [row[EMULATION.index("cycles")] for row in EMULATION_ROWS]
    assert emulation.attrs["units"]["energy_pj"] == "pJ"
    assert emulation.attrs["descriptions"]["cycles"] == "what cycles is"
    assert data["layers"].empty and list(data["layers"].columns) == ["model", "layer"]
    assert data.provenance["git_commit"] == "abc"
    assert data.provenance["seed"] == 7
    assert data.provenance["config"] == "x = 1"
    assert data.provenance["devices"] == ["a: cpu", "b: cuda"]


def test_load_rejects_what_it_cannot_read(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(results.ResultsError, match="no such file"):
        results.load(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(results.ResultsError, match="text.h5"):
        results.load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(results.ResultsError, match="no /provenance"):
        results.load(tmp_path / "other.h5")
    with h5py.File(sample, "r+") as file:
        del file["emulation/cycles"]
        file["emulation/cycles"] = [1, 2]
    with pytest.raises(results.ResultsError, match="different lengths"):
        results.load(sample)
    for version in (results.SCHEMA_VERSION - 1, results.SCHEMA_VERSION + 1):
        with h5py.File(sample, "r+") as file:
            file["provenance"].attrs["schema_version"] = version
        with pytest.raises(results.ResultsError, match=f"is version {version}, this script reads version {results.SCHEMA_VERSION}"):
            results.load(sample)


def test_tables_prints_every_format(sample: Path) -> None:
    markdown = run("tables.py", sample).stdout.splitlines()
    assert markdown[0] == "| " + " | ".join(SUMMARY) + " |" and len(markdown) == 2 + len(SUMMARY_ROWS)
    assert markdown[1].startswith("| :--- | :--- | :--- | :--- | ---: |")
    assert markdown[2].startswith("| one | throughput | integer | Stripes | 0.9 | 0.899 |")
    assert markdown[8 + 2].endswith("| 2.5 |" + "  |" * 17)
    csv = run("tables.py", sample, "--format", "csv").stdout.splitlines()
    assert csv[0] == ",".join(SUMMARY) and len(csv) == 1 + len(SUMMARY_ROWS)
    csv = run("tables.py", sample, "--table", "skipped", "--format", "csv").stdout.splitlines()
    assert csv == [",".join(SKIPPED), "two,search,M-BC,nothing is within the budget"]
    for arguments, message in (("/none.h5",), "no such file"), ((sample, "--table", "none"), "no such table"):
        broken = run("tables.py", *arguments)
        assert broken.returncode != 0 and message in broken.stderr and "Traceback" not in broken.stderr


def test_check_accepts_what_was_worked_by_hand(sample: Path) -> None:
    assert tables.check(results.load(sample)) == []
    assert run("tables.py", sample, "--check").returncode == 0


@pytest.mark.parametrize("row", [0, 9])  # of a model, of the geometric mean
@pytest.mark.parametrize("column", SUMMARY[SUMMARY.index("cycles"):])
def test_check_notices_a_wrong_number(sample: Path, column: str, row: int) -> None:
    data = results.load(sample)
    number = data["summary"].loc[row, column]
    data["summary"].loc[row, column] = number * (1 + 1e-6) if np.isfinite(number) else 1.
    problems = tables.check(data)
    assert len(problems) == 1 and column in problems[0]


def test_check_notices_a_comparison_across_bases(sample: Path) -> None:
    data = results.load(sample)
    data["emulation"]["basis"] = data["emulation"]["basis"].where(data["emulation"]["assignment"] != "M-BC", "area")
    problems = tables.check(data)
    assert any("speedup_m_bc is 2.0, /emulation gives nan" in problem for problem in problems)


@pytest.mark.parametrize(("table", "row", "column", "expected"),
                         [("accelerators", 3, "array_mm2", "array_mm2 is"),
                          ("accelerators", 4, "slots_per_cycle", "slots are not slots_per_cycle x cycles"),
                          ("emulation", 2, "slots", "slots are not useful"),
                          ("emulation", 0, "idle_lane", "slots are not useful")])
def test_check_notices_slots_of_another_array(sample: Path, table: str, row: int, column: str, expected: str) -> None:
    data = results.load(sample)
    data[table].loc[row, column] += 1
    assert any(expected in problem for problem in tables.check(data))


def test_check_notices_an_unknown_accelerator(sample: Path) -> None:
    data = results.load(sample)
    data["accelerators"] = data["accelerators"].drop(index=1)
    assert [problem for problem in tables.check(data) if "Pragmatic" in problem]


def test_check_notices_wrong_means_and_missing_rows(sample: Path) -> None:
    with h5py.File(sample, "r+") as file:
        file["summary/speedup_l_bc"][9] = 6.5
    failed = run("tables.py", sample, "--check")
    assert failed.returncode == 1 and "geometric mean" in failed.stderr
    data = results.load(sample)
    data["summary"] = data["summary"].drop(index=[1, 9])
    assert sum("not in /summary" in problem for problem in tables.check(data)) == 2


def test_check_knows_that_speed_is_time(sample: Path) -> None:
    with h5py.File(sample, "r+") as file:
        file["accelerators/clock_ghz"][0] = 4.
    problems = tables.check(results.load(sample))
    assert problems and all("Stripes" in problem and "speedup" in problem for problem in problems)
