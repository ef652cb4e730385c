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
EMULATION = ["model", "assignment", "accelerator", "layer", "cycles", "useful", "slots", "energy_pj"]
SUMMARY = ["model", "assignment", "accelerator", "float_top1", "top1", "loss", "loss_low", "loss_high", "terms_mean",
           "cycles", "utilisation", "energy_pj", "speedup_m_bc", "energy_ratio_m_bc", "speedup_l_bc",
           "energy_ratio_l_bc", "utilisation_ratio_m_bc", "utilisation_ratio_l_bc"]
SKIPPED = ["model", "stage", "subject", "reason"]

# Ratios worked by hand: Stripes 800 cycles and 6 pJ at 30 %, M-BC 400 and 3 at 60 %, L-BC 200 and 2 at 60 %.
EMULATION_ROWS = [("one", "integer", "Stripes", "a", 600, 300, 1000, 4.0),
                  ("one", "integer", "Stripes", "b", 200, 900, 3000, 2.0),
                  ("one", "M-BC", "BitCluster", "a", 400, 600, 1000, 3.0),
                  ("one", "L-BC", "BitCluster", "a", 200, 600, 1000, 2.0),
                  ("two", "integer", "Stripes", "a", 900, 250, 1000, 9.0),
                  ("two", "L-BC", "BitCluster", "a", 100, 500, 1000, 1.0)]
ACCURACY = {("one", "integer"): (.9, .899, .001, -.001, .003, 3.5), ("one", "M-BC"): (.9, .895, .005, .003, .007, 3.),
            ("one", "L-BC"): (.9, .892, .008, .006, .01, 2.25), ("two", "integer"): (.8, .8, 0., -.002, .002, 3.1),
            ("two", "L-BC"): (.8, .795, .005, .003, .007, 2.5)}
SUMMARY_ROWS = [
    ("one", "integer", "Stripes", *ACCURACY["one", "integer"], 800., .3, 6., 2., 2., 4., 3., 2., 2.),
    ("one", "M-BC", "BitCluster", *ACCURACY["one", "M-BC"], 400., .6, 3., 1., 1., 2., 1.5, 1., 1.),
    ("one", "L-BC", "BitCluster", *ACCURACY["one", "L-BC"], 200., .6, 2., .5, 2 / 3, 1., 1., 1., 1.),
    ("two", "integer", "Stripes", *ACCURACY["two", "integer"], 900., .25, 9., NAN, NAN, 9., 9., NAN, 2.),
    ("two", "L-BC", "BitCluster", *ACCURACY["two", "L-BC"], 100., .5, 1., NAN, NAN, 1., 1., NAN, 1.),
    ("geometric mean", "integer", "Stripes", *[NAN] * 9, 2., 2., 6., 27 ** .5, 2., 2.),
    ("geometric mean", "M-BC", "BitCluster", *[NAN] * 9, 1., 1., 2., 1.5, 1., 1.),
    ("geometric mean", "L-BC", "BitCluster", *[NAN] * 9, .5, 2 / 3, 1., 1., 1., 1.)]


def put_table(file: h5py.File, name: str, columns: list[str], rows: list[tuple]) -> None:
    """A table in the layout of DESIGN section 6."""
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
        provenance.attrs.update({"schema_version": 1, "program_version": "0.1.0", "git_commit": "abc", "config": "x = 1",
                                 "date": "2022-02-02", "seed": 7, "ranks": 2})
        provenance.create_dataset("devices", data=np.array([b"a: cpu", b"b: cuda"]))
        put_table(file, "evaluations", EVALUATIONS, [("one", "integer", "test", .899)])
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
    assert emulation["cycles"].tolist() == [600, 200, 400, 200, 900, 100]
    assert emulation.attrs["units"]["energy_pj"] == "pJ"
    assert emulation.attrs["descriptions"]["cycles"] == "what cycles is"
    assert data["layers"].empty and list(data["layers"].columns) == ["model", "layer"]
    assert data.provenance["git_commit"] == "abc"
    assert data.provenance["seed"] == 7
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
    with h5py.File(sample, "r+") as file:
        file["provenance"].attrs["schema_version"] = 99
    with pytest.raises(results.ResultsError, match="version 99"):
        results.load(sample)


def test_tables_prints_every_format(sample: Path) -> None:
    text = run("tables.py", sample).stdout
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "one 90.00 89.90 89.50 3 0.50 [0.30, 0.70] 89.20 2.25 0.80 [0.60, 1.00]" in lines
    assert "two 80.00 80.00 - - - 79.50 2.50 0.50 [0.30, 0.70]" in lines
    assert "two Stripes integer 900 25.0 0.00 - - 9.00 9.00" in lines
    assert "Stripes integer 2.00 2.00 2.00 2.00 6.00 5.20" in lines
    assert "claim [TCAD'22] 1.60 3.40 5.00" in lines
    assert "nothing is within the budget" in text
    assert "| one | Stripes | integer | 800 | 30.0 |" in run("tables.py", sample, "--format", "markdown").stdout
    csv = run("tables.py", sample, "--format", "csv").stdout.splitlines()
    assert csv[0] == ",".join(SUMMARY) and len(csv) == 1 + len(SUMMARY_ROWS)
    broken = run("tables.py", "/none.h5")
    assert broken.returncode != 0 and "no such file" in broken.stderr and "Traceback" not in broken.stderr


def test_check_accepts_what_was_worked_by_hand(sample: Path) -> None:
    assert tables.check(results.load(sample)) == []
    assert run("tables.py", sample, "--check").returncode == 0


@pytest.mark.parametrize("column", ["cycles", "utilisation", "energy_pj", *tables.RATIOS])
def test_check_notices_a_wrong_number(sample: Path, column: str) -> None:
    data = results.load(sample)
    data["summary"].loc[0, column] *= 1 + 1e-6
    problems = tables.check(data)
    assert len(problems) == 1 and column in problems[0]


def test_check_notices_wrong_means_and_missing_rows(sample: Path) -> None:
    with h5py.File(sample, "r+") as file:
        file["summary/speedup_l_bc"][5] = 6.5
    failed = run("tables.py", sample, "--check")
    assert failed.returncode == 1 and "geometric mean" in failed.stderr
    data = results.load(sample)
    data["summary"] = data["summary"].drop(index=[1, 5])
    assert sum("not in /summary" in problem for problem in tables.check(data)) == 2


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
        assert file["images"].chunks == (1, 7, 7, 3) and file["images"].compression == "gzip"
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
