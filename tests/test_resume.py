"""Interrupted runs: whatever is killed, and whenever, --resume ends with the tables of a run that was never interrupted.

BITCLUSTER_KILLS=100 tries more kills than the few that every test run does.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BUILD, MPI_ENVIRONMENT, assert_equal, tables, write_small_config

KILLS = int(os.environ.get("BITCLUSTER_KILLS", 10))
PROGRAM = BUILD / "bitcluster"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_small_config(tmp_path_factory.mktemp("resume") / "config.toml")


def start(config, output, *arguments, ranks=2):
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not built")
    return subprocess.Popen(
        ["mpirun", "-np", str(ranks), PROGRAM, "--threads", "1", "run", config, "-o", output, *arguments],
        env={**os.environ, **MPI_ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "results.h5"
    began = time.monotonic()
    status, printed, errors = finish(start(config, output))
    assert status == 0, errors
    assert not list(output.parent.glob("*.journal"))
    return tables(output), printed, time.monotonic() - began


def processes_of(parent):
    """The ranks that an mpirun has started."""
    listing = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True).stdout
    return [int(line) for line in listing.split()]


def is_alive(rank):
    """Not if it has ended and nobody has asked for its status."""
    try:
        return Path(f"/proc/{rank}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_after_kill(process):
    """mpirun of Open MPI 4.1.4 now and then never ends after a rank was killed as it started: it waits in
    PMIx_server_finalize for a mutex of libpmix. That is right here as long as no rank of ours lives on."""
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        assert not any(is_alive(rank) for rank in processes_of(process))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def test_kills_at_random_moments(config, undisturbed, tmp_path):
    expected, printed, seconds = undisturbed
    random_numbers = random.Random(1)
    output = tmp_path / "results.h5"
    known = kills = 0
    while kills < KILLS:
        process = start(config, output, "--resume", ranks=random_numbers.choice([1, 2, 3]))
        try:
            process.wait(timeout=random_numbers.uniform(0.05, 0.7 * seconds))
            assert process.returncode == 0, process.stderr.read()
            assert_equal(tables(output), expected)
            output.unlink()  # once more from the beginning
            known = 0
            continue
        except subprocess.TimeoutExpired:
            kills += 1
        ranks = processes_of(process)
        victim = random_numbers.choice(["rank", "all", "mpirun"])
        if victim == "rank" and ranks:
            os.kill(random_numbers.choice(ranks), signal.SIGKILL)
        elif victim == "mpirun":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        wait_after_kill(process)
        for rank in ranks:  # those that mpirun has left behind
            try:
                os.kill(rank, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.2)
        errors = process.stderr.read()
        if "results are known" in errors:
            now = int(errors.split(" results are known")[0].split()[-1])
            assert now >= known, "a result that was found once is lost"
            known = now
        assert not output.exists() or tables(output)  # whole, or not there
    status, printed_now, errors = finish(start(config, output, "--resume"))
    assert status == 0, errors
    assert printed_now == printed
    assert_equal(tables(output), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["results.h5"]

    before = output.read_bytes()
    status, again, errors = finish(start(config, output, "--resume"))
    assert (status, again) == (0, printed) and "complete already" in errors
    assert output.read_bytes() == before


def test_a_kept_journal_serves_a_run_with_other_options(undisturbed, config, tmp_path):
    expected, printed, _ = undisturbed
    output, own = tmp_path / "results.h5", tmp_path / "config.toml"
    own.write_text(config.read_text())
    status, printed_now, errors = finish(start(own, output, "--keep-journal"))
    assert (status, printed_now) == (0, printed), errors
    assert (tmp_path / "results.h5.journal").exists()
    status, printed_now, errors = finish(start(own, output, "--keep-journal", "--resume"))
    assert (status, printed_now) == (0, printed) and "complete already" in errors

    own.write_text(config.read_text().replace("[search]", "[search]\nbudget = 0.004"))
    status, _, errors = finish(start(own, output, "--resume"))
    assert status == 0 and "results are known" in errors, errors
    assert not (tmp_path / "results.h5.journal").exists()
    status, _, errors = finish(start(own, tmp_path / "fresh.h5"))
    assert status == 0, errors
    assert_equal(tables(output), tables(tmp_path / "fresh.h5"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_stop_and_save(config, undisturbed, tmp_path, number):
    expected, printed, seconds = undisturbed
    output = tmp_path / "results.h5"
    process = subprocess.Popen(
        [PROGRAM, "--threads", "1", "run", config, "-o", output],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (output.with_name("results.h5.journal").exists()
               and output.with_name("results.h5.journal").stat().st_size > 2000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    status, _, errors = finish(process)
    assert status == 75 and "--resume" in errors
    assert not output.exists()

    status, _, errors = finish(start(config, output))
    assert status != 0 and "interrupted run has left" in errors
    status, printed_now, errors = finish(start(config, output, "--resume", ranks=3))
    assert status == 0 and "results are known" in errors
    assert printed_now == printed
    assert_equal(tables(output), expected)


def test_two_runs_on_one_output_are_refused(config, tmp_path):
    output = tmp_path / "results.h5"
    first = start(config, output)
    while not output.with_name("results.h5.journal").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    status, _, errors = finish(start(config, output, "--resume"))
    assert status != 0 and "another run" in errors
    status, _, errors = finish(first)
    assert status == 0, errors


def test_failing_runs_leave_nothing(config, tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text(config.read_text().replace('data = "', 'data = "/nowhere'))
    status, _, errors = finish(start(broken, tmp_path / "results.h5"))
    assert status != 0 and "nowhere" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_traces_are_not_resumed(program, tmp_path):
    process = program("emulate", "--trace", "trace.h5", "--design", "a.toml", "--resume", "-o", tmp_path / "results.h5")
    assert process.returncode != 0 and "--resume" in process.stderr
