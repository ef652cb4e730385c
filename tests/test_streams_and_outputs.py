"""What the program may read and replace, and that what it prints has arrived or is missed."""

import os
import shutil
import socket
import stat
import subprocess

import h5py
import numpy
import pytest

import results
from conftest import BUILD, MPI_ENVIRONMENT, ROOT, write_small_config

MODEL = ROOT / "configs/models/resnet18.onnx"
DESIGN = ROOT / "configs/accelerators/bitcluster.toml"


def run(*arguments, **options):
    """build/bitcluster; a minute is long for what only looks at a name."""
    if not (BUILD / "bitcluster").exists():
        pytest.skip(f"{BUILD / 'bitcluster'} is not built")
    return subprocess.run([BUILD / "bitcluster", *map(str, arguments)], env={**os.environ, **MPI_ENVIRONMENT}, text=True,
                          timeout=60, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options})


def assert_error(process, *words):
    assert process.returncode == 1, process.stderr
    assert process.stderr.count("bitcluster: error: ") == 1, process.stderr
    for word in words:
        assert word in process.stderr


@pytest.fixture
def full(tmp_path):
    """A device that is always full: as /dev/full, in a folder of our own."""
    try:
        os.mknod(tmp_path / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        with open(tmp_path / "full", "wb") as file:
            pass
    except OSError as error:
        pytest.skip(f"no device can be made and opened here: {error}")
    return tmp_path / "full"


@pytest.fixture
def strange(tmp_path):
    """What is no file: names and what the program calls it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.getcwd()
        os.chdir(tmp_path)
        bound.bind("socket")
        os.chdir(here)
    kinds = {"fifo": "FIFO", "folder": "folder", "socket": "socket"}
    try:
        os.mknod(tmp_path / "device", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        kinds["device"] = "device"
    except OSError:
        pass  # not allowed here
    return {tmp_path / name: f"it is a {kind}" for name, kind in kinds.items()}


@pytest.fixture
def files(tmp_path):
    """Copies of everything that commands read, to be replaced by mistake."""
    folder = tmp_path / "inputs"
    shutil.copytree(ROOT / "configs/accelerators", folder / "accelerators")
    (folder / "models").mkdir()
    shutil.copy(MODEL, folder / "models/resnet18.onnx")
    with h5py.File(folder / "images.h5", "w") as file:
        file["images"] = numpy.ones((20, 28, 28, 1), numpy.uint8)
        file["labels"] = numpy.arange(20, dtype=numpy.int32) % 10
    split = 'files = ["images.h5"]\n'
    (folder / "data.toml").write_text(
        'format = "packed"\n[preprocess]\nscale = 1.0\nmean = [0.0]\nstd = [1.0]\nchannels = "gray"\n'
        f"[splits.calibration]\n{split}count = 5\n[splits.search]\n{split}first = 5\ncount = 5\n"
        f"[splits.test]\n{split}first = 10\ncount = 10\n")
    text = write_small_config(folder / "config.toml").read_text()
    text = text.replace(f"{ROOT}/configs/data/fashion_mnist.toml", "data.toml").replace(f"{ROOT}/configs/", "")
    for old, new in (("\nimages = 64", "\nimages = 5"), ("\nimages = 300", "\nimages = 5"), ("test_images = 300", "test_images = 10")):
        assert old in text
        text = text.replace(old, new)
    (folder / "config.toml").write_text(text)
    with h5py.File(folder / "trace.h5", "w") as file:
        layer = file.create_group("layers/only")
        layer["weights"] = numpy.ones((4, 8), numpy.int32)
        layer.attrs["kind"] = numpy.bytes_("fc")
    return folder


@pytest.fixture
def inspected(tmp_path):
    """A results file."""
    assert run("inspect", MODEL, "-o", tmp_path / "inspected.h5").returncode == 0
    return tmp_path / "inspected.h5"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- outputs ---


def test_only_files_are_replaced(strange, tmp_path):
    before = {path: os.lstat(path).st_ino for path in strange}
    for path, kind in strange.items():
        assert_error(run("inspect", MODEL, "-o", path), f"cannot write '{path}'", kind)
        link = tmp_path / "link"
        link.symlink_to(path)
        assert_error(run("inspect", MODEL, "-o", link), f"cannot write '{link}'", kind)
        link.unlink()
    assert before == {path: os.lstat(path).st_ino for path in strange}


def test_a_link_stays(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.h5").symlink_to("there/results.h5")
    for _ in range(2):
        assert run("inspect", MODEL, "-o", tmp_path / "link.h5").returncode == 0
        assert (tmp_path / "link.h5").is_symlink() and len(results.load(tmp_path / "there/results.h5")["layers"]) > 10
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["link.h5", "results.h5", "there"]


def test_no_command_replaces_its_inputs(files, inspected, tmp_path):
    before = contents(files)
    technology = files / "accelerators/technology/45nm.toml"
    model, config, data = files / "models/resnet18.onnx", files / "config.toml", files / "data.toml"
    commands = {
        ("inspect", model): [model],
        ("evaluate", "--model", model, "--data", data): [model, data, files / "images.h5"],
        ("emulate", "--trace", files / "trace.h5", "--design", files / "accelerators/bitcluster.toml"):
            [files / "trace.h5", files / "accelerators/bitcluster.toml", technology],
        ("run", config): [config, model, data, files / "images.h5", files / "accelerators/laconic.toml", technology],
        ("search", config): [model],
        ("emulate", config): [technology],
        ("table", inspected): [inspected],
        ("table", inspected, inspected): [inspected],
    }
    kept = inspected.read_bytes()
    for command, inputs in commands.items():
        for place, path in enumerate(inputs):
            other = tmp_path / "other name"
            (os.link if place % 2 else os.symlink)(path, other)
            for name in (path, other):
                process = run(*command, "-o", name)
                # two files of one model cannot be merged: whatever comes first, nothing is written
                words = ("both have the model",) if command[1:] == (inspected, inspected) else ("it is an input of this command",)
                assert_error(process, *words)
            other.unlink()
    assert contents(files) == before and inspected.read_bytes() == kept


def test_the_journal_replaces_and_opens_files_only(files, strange, tmp_path):
    output = tmp_path / "out.h5"
    for path, kind in strange.items():
        (tmp_path / "out.h5.journal").symlink_to(path)
        assert_error(run("run", files / "config.toml", "-o", output), "out.h5.journal", kind)
        (tmp_path / "out.h5.journal").unlink()
    (tmp_path / "out.h5.journal").symlink_to(files / "data.toml")
    before = contents(files)
    assert_error(run("run", files / "config.toml", "-o", output), "it is an input of this command")
    assert contents(files) == before and not output.exists()


# --- inputs ---


def test_only_files_are_read(strange, files, inspected, tmp_path):
    longest = tmp_path / ("n" * 300)
    out = ("-o", tmp_path / "out.h5")
    for path, why in {**strange, longest: "File name too long", tmp_path / "none": "there is no such file"}.items():
        for command in (("inspect", path), ("evaluate", "--model", MODEL, "--data", path),
                        ("evaluate", "--model", path, "--data", files / "data.toml"), ("table", path),
                        ("table", inspected, path), ("models", path), ("run", path, *out),
                        ("emulate", "--trace", path, "--design", DESIGN, *out),
                        ("emulate", "--trace", files / "trace.h5", "--design", path, *out)):
            assert_error(run(*command), str(path), why)
        (files / "images.h5").unlink()
        (files / "images.h5").symlink_to(path)
        assert_error(run("evaluate", "--model", MODEL, "--data", files / "data.toml"), "images.h5", why)
        assert not out[1].exists()


def test_names_from_files_reach_no_terminal_raw(files, inspected):
    with h5py.File(files / "trace.h5", "r+") as file:
        file.move("layers/only", "layers/\x1b[31mred\nline")
        file["layers/\x1b[31mred\nline"].attrs["groups"] = 0.5
    process = run("emulate", "--trace", files / "trace.h5", "--design", DESIGN, "-o", files / "out.h5")
    assert_error(process, "\\x1b[31mred\\nline")
    assert "\x1b" not in process.stderr
    with h5py.File(inspected, "r+") as file:
        for columns in (file["summary"], file["skipped"]):
            for name, column in list(columns.items()):
                texts, numbers = column.dtype.kind == "S", "<i8" if column.dtype.kind == "i" else "<f8"
                value = b"search" if name == "stage" else b"\x1b]0;mine\x07a\nb|c\xff"
                attributes = dict(column.attrs)
                del columns[name]
                columns.create_dataset(name, data=numpy.array([value if texts else 1], "S40" if texts else numbers))
                columns[name].attrs.update(attributes)
    for form in ("text", "markdown", "csv"):
        process = run("table", inspected, "--format", form)
        assert process.returncode == 0, process.stderr
        assert "mine\\x07a\\nb" in process.stdout and not set(process.stdout) & set("\x1b\x07\x00\xff")
        assert "\\xff" in process.stdout
    for form in ("markdown", "csv"):
        for table in ("summary", "skipped"):
            process = subprocess.run(["/usr/bin/python3", ROOT / "analysis/tables.py", inspected, "--table", table, "--format", form],
                                     capture_output=True, text=True)
            assert process.returncode == 0, process.stderr
            assert "mine\\x07a\\nb" in process.stdout and not set(process.stdout) & set("\x1b\x07")


# --- the standard output ---


def test_what_cannot_be_printed_is_an_error(full, files):
    for command in (("--help",), ("--version",), ("run", "--help"), ("inspect", MODEL), ("models", files / "config.toml"),
                    ("emulate", "--trace", files / "trace.h5", "--design", DESIGN, "-o", files / "out.h5"),
                    *(("table", files / "out.h5", "--format", form) for form in ("text", "markdown", "csv"))):
        assert run(*command).returncode == 0
        with open(full, "w") as stdout:
            assert_error(run(*command, stdout=stdout), "cannot print to the standard output: No space left on device")
    assert "only" in list(results.load(files / "out.h5")["emulation"]["layer"])  # it is complete


def test_a_closed_output_is_an_error_and_no_file_takes_its_place(files):
    for command in (("--version",), ("models", files / "config.toml"), ("inspect", MODEL, "-o", files / "out.h5")):
        process = run(*command, stdout=None, preexec_fn=lambda: os.close(1))
        assert_error(process, "cannot print to the standard output: Bad file descriptor")
    assert len(results.load(files / "out.h5")["layers"]) > 10


def test_an_output_is_not_where_the_table_goes(tmp_path):
    with open(tmp_path / "both", "w") as stdout:
        assert_error(run("inspect", MODEL, "-o", tmp_path / "both", stdout=stdout), "what is printed goes there")


def test_tables_script_misses_what_it_cannot_print(full, inspected):
    for arguments in ((), ("--table", "layers", "--format", "csv"), ("--check",)):
        command = ["/usr/bin/python3", ROOT / "analysis/tables.py", inspected, *arguments]
        assert subprocess.run(command, capture_output=True).returncode == 0
        with open(full, "w") as stdout:
            process = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        assert process.returncode == 1
        assert process.stderr.splitlines() == [
            "tables.py: cannot print to the standard output: [Errno 28] No space left on device; free some space or print elsewhere"]


@pytest.mark.parametrize("fails", [False, True])
def test_a_cut_report_is_no_report(tmp_path, fails):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n" + 'case "$*" in models*) echo one;; *markdown*) echo half; ' +
                       ("exit 1" if fails else "echo whole") + ";; esac\n")
    program.chmod(0o755)
    (tmp_path / "results.md").write_text("before\n")
    process = subprocess.run(["bash", ROOT / "slurm/report.sbatch"], capture_output=True, text=True, cwd=tmp_path, env={
        **os.environ, "BITCLUSTER_ROOT": str(ROOT), "PROGRAM": str(program), "OUTPUT": str(tmp_path / "results.h5")})
    assert (process.returncode != 0) == fails
    assert (tmp_path / "results.md").read_text() == ("before\n" if fails else "half\nwhole\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program", "results.md"]


def test_a_report_replaces_only_a_file(tmp_path):
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ncase "$*" in models*) echo one;; *markdown*) echo whole;; esac\n')
    program.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    process = subprocess.run(["bash", ROOT / "slurm/report.sbatch"], capture_output=True, text=True, cwd=tmp_path, timeout=60, env={
        **os.environ, "BITCLUSTER_ROOT": str(ROOT), "PROGRAM": str(program), "OUTPUT": str(tmp_path / "results.h5"),
        "REPORT": str(tmp_path / "fifo")})
    assert process.returncode == 1 and "is no file" in process.stderr
    assert (tmp_path / "fifo").is_fifo()


# --- threads ---


def test_no_threads_left():
    limited = subprocess.run(["bash", "-c", 'ulimit -v 8000000; exec "$@"', "bash", BUILD / "bitcluster", "--threads", "4096",
                              "inspect", MODEL], env={**os.environ, **MPI_ENVIRONMENT}, capture_output=True, text=True, timeout=60)
    assert_error(limited, "cannot start another thread: Resource temporarily unavailable", "ulimit")
