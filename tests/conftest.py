"""What the Python tests share: where the program and the data are, and how ranks are started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BITCLUSTER_BUILD", ROOT / "build"))
sys.path.insert(0, str(ROOT / "analysis"))
import results  # noqa: E402  of analysis/

# Open MPI on one machine: as root, more ranks than cores, shared memory only (tests/CMakeLists.txt has the same list)
MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_btl": "self,vader",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_osc": "^ucx",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
}


def write_small_config(path, models=("resnet18",), images=300):
    """A study of seconds; models are named as their files."""
    accelerators = ", ".join(
        f'"{ROOT}/configs/accelerators/{name}.toml"' for name in ("bitcluster", "laconic", "pragmatic")
    )
    path.write_text(f'data = "{ROOT}/configs/data/fashion_mnist.toml"\n' + "".join(
        f'[[models]]\nname = "{model}"\nonnx = "{ROOT}/configs/models/{model}.onnx"\n' for model in models) + f"""
[calibration]
images = 64
[search]
terms = [2, 3]
images = {images}
test_images = 300
confident = false
[emulation]
images = 2
accelerators = [{accelerators}]
""")
    return path


def assert_clean_failure(process, output, *words):
    """One clear message, a non-zero exit, nothing under the output's name."""
    assert process.returncode != 0
    lines = [line for line in process.stderr.splitlines() if "bitcluster: error" in line]  # mpirun adds its own
    assert len(lines) == 1, process.stderr
    for word in words:
        assert word in lines[0], process.stderr
    assert output is None or not output.exists()
    assert output is None or not output.parent.exists() or not list(output.parent.glob(output.name + "*"))


def tables(path):
    """All tables of a results file; how long an evaluation took is not a result."""
    return {name: frame.drop(columns="seconds", errors="ignore") for name, frame in results.load(path).items()
            if name != "provenance"}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].equals(expected[name]), name


@pytest.fixture(scope="session")
def program():
    """Runs build/bitcluster with arguments, on several ranks if asked; returns the finished process."""
    path = BUILD / "bitcluster"
    if not path.exists():
        pytest.skip(f"{path} is not built")

    def run(*arguments, ranks=1):
        launcher = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
        return subprocess.run(
            [*launcher, str(path), *map(str, arguments)],
            env={**os.environ, **MPI_ENVIRONMENT},
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run


@pytest.fixture(scope="session")
def shared():
    """Folder with real data and trained networks that is not part of the project; skips where it is missing."""
    folder = Path(os.environ.get("BITCLUSTER_SHARED", ROOT.parent / "shared"))
    if not (folder / "models").exists():
        pytest.skip(f"{folder} (real data and trained networks) is not there")
    return folder
