"""Tests of analysis/results.py, tables.py and pack_images.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import results
import tables

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("BITCLUSTER_SHARED", ROOT.parent / "shared"))
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


# ---- pack_images.py


def save_image(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def made_pixels(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, name in enumerate(["b/1.png", "b/2.png", "b/3.png", "a/1.png", "c/1.png", "c/2.png"]):
        save_image(tmp_path / "images" / name, made_pixels(12, 15, seed))
    return tmp_path / "images"


def test_pack_orders_classes_and_takes_turns(folder: Path, tmp_path: Path) -> None:
    done = run("pack_images.py", folder, tmp_path / "p.h5", "--resize", 0, "--crop", 7)
    assert done.returncode == 0, done.stderr
    assert "6 of 6 images" in done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["images"].shape == (6, 7, 7, 3) and file["images"].dtype == np.uint8
        assert file["images"].chunks == (1, 7, 7, 3) and file["images"].fletcher32
        assert file["labels"].dtype == np.int32
        assert file["labels"][:].tolist() == [0, 1, 2, 1, 2, 1]
        assert file["classes"][:].tolist() == [b"a", b"b", b"c"]
        assert file.attrs["crop"] == 7 and file.attrs["resize"] == 0
        # centre of 12 x 15: round half to even, as torchvision, gives rows 2..8 and columns 4..10
        assert np.array_equal(file["images"][0], made_pixels(12, 15, 3)[2:9, 4:11])
        assert np.array_equal(file["images"][3], made_pixels(12, 15, 1)[2:9, 4:11])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p.h5"]


def test_pack_follows_a_class_list_and_a_limit(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("c third letter\nnone not there\nb\na\n")
    done = run("pack_images.py", folder, tmp_path / "p.h5", "--resize", 0, "--crop", 0, "--limit", 4, "--classes",
               tmp_path / "classes.txt")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["labels"][:].tolist() == [0, 2, 3, 0]
        assert np.array_equal(file["images"][1], made_pixels(12, 15, 0))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pack_resizes_the_short_side(tmp_path: Path, interpolation: str) -> None:
    save_image(tmp_path / "images/a/wide.png", np.full((20, 45, 3), (10, 20, 30), np.uint8))
    save_image(tmp_path / "images/a/high.png", np.full((41, 20, 3), (10, 20, 30), np.uint8))
    save_image(tmp_path / "images/a/gray.png", np.full((30, 30), 99, np.uint8))
    done = run("pack_images.py", tmp_path / "images", tmp_path / "p.h5", "--resize", 10, "--crop", 10,
               "--interpolation", interpolation)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert np.array_equal(file["images"][0], np.full((10, 10, 3), 99))  # a constant image stays constant
        assert np.array_equal(file["images"][1], np.full((10, 10, 3), (10, 20, 30)))
        assert file["images"].shape == (3, 10, 10, 3)


def test_pack_names_what_it_cannot_use_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    def fails(*arguments: object) -> str:
        done = run("pack_images.py", *arguments)
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert not list(tmp_path.glob("p.h5*"))
        return done.stderr

    output = tmp_path / "p.h5"
    assert "no such folder" in fails(tmp_path / "none", output)
    assert "a/1.png': it is 15 x 12, the crop is 13" in fails(folder, output, "--resize", 0, "--crop", 13)
    assert "does not exist" in fails(folder, tmp_path / "none" / "p.h5", "--resize", 0, "--crop", 7)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    assert "does not name the folder 'c'" in fails(folder, output, "--classes", tmp_path / "classes.txt")
    save_image(folder / "c/3.png", made_pixels(12, 16, 9))
    assert "c/3.png': it is 16 x 12" in fails(folder, output, "--resize", 0, "--crop", 0)
    (folder / "b/2.png").write_bytes(b"no image")
    assert "b/2.png" in fails(folder, output, "--resize", 0, "--crop", 7)
    truncated = (folder / "b/1.png").read_bytes()[:-200]
    (folder / "b/2.png").write_bytes(truncated)
    assert "b/2.png" in fails(folder, output, "--resize", 0, "--crop", 7)


def test_pack_replaces_a_file_and_no_input(folder: Path, tmp_path: Path) -> None:
    def pack(output: Path, *arguments: object) -> str:
        return run("pack_images.py", folder, output, "--resize", 0, "--crop", 7, *arguments).stderr

    (tmp_path / "there").mkdir()
    (tmp_path / "link.h5").symlink_to("there/p.h5")
    for _ in range(2):
        pack(tmp_path / "link.h5")
        assert (tmp_path / "link.h5").is_symlink() and [path.name for path in (tmp_path / "there").iterdir()] == ["p.h5"]
    os.mkfifo(tmp_path / "fifo")
    assert "it is a folder, a device or a FIFO" in pack(tmp_path / "fifo") and (tmp_path / "fifo").is_fifo()
    (tmp_path / "classes").write_text("a\nb\nc\n")
    for path in (folder / "a/1.png", tmp_path / "classes"):
        before = path.read_bytes()
        assert "it is an input" in pack(path, "--classes", tmp_path / "classes") and path.read_bytes() == before


def test_pack_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    save_image(tmp_path / "images/a/1.png", made_pixels(200, 200, 1))
    command = f"ulimit -f 50; {sys.executable} {ROOT}/analysis/pack_images.py {tmp_path}/images {tmp_path}/p.h5 --resize 0"
    done = subprocess.run(["bash", "-c", command + " --crop 200"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.glob("p.h5*"))


def test_pack_of_real_photographs_is_their_centre(tmp_path: Path) -> None:
    samples = SHARED / "data" / "imagenet_samples"
    if not samples.is_dir():
        pytest.skip("no shared folder with sample photographs")
    done = run("pack_images.py", samples / "val", tmp_path / "p.h5", "--classes", samples / "synsets.txt", "--limit", 40)
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["labels"][:].tolist() == list(range(40))
        for index, line in enumerate((samples / "synsets.txt").read_text().splitlines()[:40]):
            path = next((samples / "val" / line.split()[0]).iterdir())
            pixels = np.asarray(Image.open(path).convert("RGB"))
            assert min(pixels.shape[:2]) == 256
            top, left = (int(round((extent - 224) / 2)) for extent in pixels.shape[:2])
            assert np.array_equal(file["images"][index], pixels[top:top + 224, left:left + 224])
