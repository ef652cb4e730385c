"""However ranks fail, one message says why, the status is not 0, and no rank lives on."""

import os
import shutil
import subprocess
import time

import pytest

from conftest import BUILD, MPI_ENVIRONMENT, ROOT

WAYS = ["all", "root_late", "last_alone", "action_of_root", "action_of_all", "task_of_root", "task_of_last", "after_others"]


def run(*command, ranks, **environment):
    if not command[0].exists():
        pytest.skip(f"{command[0]} is not built")
    return subprocess.run(
        ["mpirun", "-np", str(ranks), *map(str, command)],
        env={**os.environ, **MPI_ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


def messages(process):
    return [line for line in process.stderr.splitlines() if "bitcluster: error" in line]  # mpirun adds its own


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("way", WAYS)
def test_one_message_whoever_fails(tmp_path, way, ranks):
    began = time.monotonic()
    process = run(BUILD / "tests" / "check_failures", way, tmp_path / "out.h5", ranks=ranks)
    assert process.returncode != 0
    assert len(messages(process)) == 1, process.stderr
    assert "broken: on purpose" in messages(process)[0]
    assert "x; look" in process.stderr  # to its end; mpirun may put its own notice into the middle of a long message
    assert time.monotonic() - began < 15  # nobody waited for the others' work
    if way in ("task_of_root", "action_of_root", "action_of_all"):  # the root has come to its end
        assert not list(tmp_path.iterdir())


def test_different_failures_give_one_message(tmp_path):
    program = BUILD / "bitcluster"
    process = run(program, "models", tmp_path / "a.toml", ":", "-np", "1", program, "models", tmp_path / "b.toml", ranks=1)
    assert process.returncode != 0
    assert len(messages(process)) == 1 and ".toml" in messages(process)[0], process.stderr


@pytest.mark.parametrize("ranks", [2, 3])
def test_mpi_without_threads_is_refused(tmp_path, ranks):
    """An MPI that serves one thread only, as some are built."""
    compiler = shutil.which("mpicc")
    if not compiler:
        pytest.skip("there is no mpicc")
    (tmp_path / "mpi.c").write_text("""
#include <mpi.h>
int MPI_Init_thread(int* argc, char*** argv, int required, int* provided) {
  (void)required;
  return PMPI_Init_thread(argc, argv, MPI_THREAD_SINGLE, provided);
}
""")
    library = tmp_path / "mpi.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, tmp_path / "mpi.c"], check=True)
    process = run(BUILD / "bitcluster", "models", ROOT / "configs/none.toml", ranks=ranks, LD_PRELOAD=str(library))
    assert process.returncode not in (0, 134) and "terminate called" not in process.stderr
    assert len(messages(process)) == 1 and "it lacks MPI_THREAD_MULTIPLE" in messages(process)[0], process.stderr
