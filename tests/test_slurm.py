"""The batch scripts on a Slurm cluster of virtual nodes, which this file starts on this machine and stops again.

Everything of the cluster is inside one temporary folder: its own munge key, ports that were free, no address but this
machine's.
"""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from conftest import BUILD, MPI_ENVIRONMENT, ROOT, assert_equal, tables, write_small_config

NODES = 3
PATIENCE = 240  # seconds for a job to get to where a test waits for it: on a loaded machine nothing is quick
TOOLS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo", "mpirun")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")  # states of a job

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
# a job that is queued again waits for its old credential to expire; 5 s is the least
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
TmpFS={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=50000,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=0
ReturnToService=2
PropagateResourceLimits=NONE
KillWait=2
CompleteWait=0
MinJobAge=3600
GresTypes=gpu
SlurmdParameters=config_overrides
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def wait_for(what, condition, seconds=PATIENCE):
    """Polls until the condition gives something."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.1)
    return value


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Cluster:
    """Daemons of one controller and several nodes, all on this machine."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # short: names of sockets end at 107 bytes
        self.daemons = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "OMPI_", "PMIX_"))},
            **MPI_ENVIRONMENT,
            "OMPI_MCA_btl": "self,tcp",  # ranks of two virtual nodes would use the same segment of shared memory
            "OMPI_MCA_btl_tcp_if_include": "lo",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "BITCLUSTER_ROOT": str(ROOT),
            "PROGRAM": str(BUILD / "bitcluster"),
        }

    def start(self):
        self.folder.chmod(0o755)
        for name in ("state", *(f"n{i}" for i in range(NODES))):
            (self.folder / name).mkdir()
        controller_port, *ports = free_ports(1 + NODES)
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join(f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=1000 Gres=gpu:2"
                          for i, port in enumerate(ports))
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(folder=self.folder, host=host, controller_port=controller_port, nodes=nodes))
        (self.folder / "gres.conf").write_text(
            f"AutoDetect=off\nNodeName=n[0-{NODES - 1}] Name=gpu File=/dev/null,/dev/zero\n")  # any devices, never opened
        (self.folder / "plugstack.conf").write_text("")
        # nothing here uses cgroups, but slurmd loads a plugin for them: "autodetect" fails where none are mounted, or
        # those of both versions; this one loads everywhere, and does nothing until it is used
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self.daemon("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
                    f"--pid-file={self.folder}/munge.pid", f"--seed-file={self.folder}/munge.seed",
                    f"--log-file={self.folder}/munged.log")
        self.wait_for_daemons("munge", lambda: (self.folder / "munge.socket").exists())
        self.daemon("slurmctld", "-D", "-c", "-f", self.environment["SLURM_CONF"])
        for i in range(NODES):
            self.daemon("slurmd", "-D", "-N", f"n{i}", "-f", self.environment["SLURM_CONF"])
        self.wait_for_daemons("all nodes idle", lambda: self.idle_nodes() == NODES)

    def daemon(self, *command):
        with open(self.folder / f"{command[0]}.out", "a") as output:
            self.daemons.append(subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output,
                                                 stderr=output, start_new_session=True))

    def wait_for_daemons(self, what, condition):
        def check():
            dead = [daemon.args[0] for daemon in self.daemons if daemon.poll() is not None]
            assert not dead, f"{dead} ended at once:\n{self.logs()}"
            return condition()
        try:
            wait_for(what, check, 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from None

    def logs(self):
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-1500:]}"
                         for path in sorted(self.folder.iterdir()) if path.suffix == ".log")

    def idle_nodes(self):
        return len(self.client("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split())

    def client(self, *command, check=True, **environment):
        """What a command of Slurm prints."""
        process = subprocess.run(["timeout", "60", *map(str, command)], env={**self.environment, **environment},
                                 capture_output=True, text=True, cwd=self.folder)
        assert not check or process.returncode == 0, f"{command}: {process.stderr}"
        return process.stdout

    def submit(self, script, *options, **environment):
        """The job's number. Its log and its files are in the cluster's folder."""
        return self.client("sbatch", "--parsable", "--cpus-per-task=1", *options, ROOT / "slurm" / script,
                           **environment).strip()

    def job(self, number):
        """What Slurm knows of a job, by name of the field."""
        lines = self.client("scontrol", "show", "job", "-o", number).splitlines()
        return dict(re.findall(r"(\S+?)=(\S*)", lines[0]))

    def finish(self, number):
        """The job's fields when it has ended for good."""
        return wait_for(f"end of job {number}", lambda: (job := self.job(number))["JobState"] in ENDED and job)

    def log(self, number):
        return next(self.folder.glob(f"bitcluster*-{number}.log")).read_text()

    def processes(self):
        """Everything that was started here, by daemons and jobs, too."""
        mark = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # it has ended
                pass
        return found

    def stop(self):
        if any(daemon.args[0] == "slurmctld" and daemon.poll() is None for daemon in self.daemons):
            self.client("scancel", "--user=root", "--quiet", check=False)
            end = time.monotonic() + 20
            while self.client("squeue", "-h", check=False).strip() and time.monotonic() < end:
                time.sleep(0.1)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        while left := self.processes():  # job steps outlive the daemons
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def cluster():
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        pytest.skip(f"Slurm is not complete here: no {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm's daemons")
    try:
        for host in ("127.0.0.1", socket.gethostname()):  # as Slurm asks for them
            socket.getaddrinfo(host, 1, socket.AF_INET, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        pytest.skip(f"Slurm needs a host name with an address, and an IPv4 address besides 127.0.0.1: {error}")
    if not (BUILD / "bitcluster").exists():
        pytest.skip(f"{BUILD / 'bitcluster'} is not built")
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A config that keeps two ranks busy for some seconds, and what a direct run makes of it."""
    folder = tmp_path_factory.mktemp("study")
    return direct_run(write_small_config(folder / "config.toml", images=2500))


@pytest.fixture(scope="module")
def quick_study(tmp_path_factory):
    """Two models, quickly."""
    folder = tmp_path_factory.mktemp("quick")
    return direct_run(write_small_config(folder / "config.toml", models=("alexnet", "resnet18")))


def direct_run(config):
    output = config.with_name("results.h5")
    process = subprocess.run([BUILD / "bitcluster", "run", config, "-o", output], capture_output=True, text=True,
                             timeout=PATIENCE)
    assert process.returncode == 0, process.stderr
    return config, tables(output), process.stdout


@pytest.mark.parametrize("launcher", ["mpirun", "srun"])
def test_two_nodes(cluster, quick_study, tmp_path, launcher):
    config, expected, printed = quick_study
    output = tmp_path / "results.h5"
    job = cluster.submit("cpu.sbatch", "--nodes=2", "--ntasks-per-node=2", CONFIG=str(config), OUTPUT=str(output),
                         LAUNCHER=launcher)
    ended = cluster.finish(job)
    print(cluster.log(job)[-3000:])
    assert ended["JobState"] == "COMPLETED" and ended["NumNodes"] == "2"
    assert printed in cluster.log(job)
    assert_equal(tables(output), expected)


def wait_for_results(output):
    """Until a run has recorded some."""
    journal = output.with_name(output.name + ".journal")
    wait_for("first results", lambda: journal.exists() and journal.stat().st_size > 3000)


def recorded(output):
    """Whole records of a journal, counted by the layout in harness/journal/journal.cpp: two lines, then records of a header
    (key of 16 bytes, size of the payload, checksum) and a payload."""
    content = output.with_name(output.name + ".journal").read_bytes()
    place = content.index(b"\n", content.index(b"\n") + 1) + 1
    count = 0
    while place + 32 <= len(content):
        place += 32 + struct.unpack_from("<Q", content, place + 16)[0]
        count += place <= len(content)
    return count


def wait_for_requeue(cluster, job):
    def queued_again():
        fields = cluster.job(job)
        assert fields["JobState"] not in ENDED, cluster.log(job)
        return fields["Restarts"] == "1"
    wait_for("the job to be queued again", queued_again)


def assert_went_on(cluster, job, output, study, known=None):
    """The job finished after one restart, with what was known before (of so many results) and nothing lost."""
    _, expected, printed = study
    ended = cluster.finish(job)
    log = cluster.log(job)
    print(log[-3000:])
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1")
    found = re.findall(r"(\d+) results are known", log)
    assert len(found) == 1 and int(found[0]) > 0
    assert known is None or int(found[0]) == known
    # srun joins standard output and error: a line of progress may come between two parts of the tables
    without_progress = "".join(line for line in log.splitlines(keepends=True) if not re.search(r" \d+ %  ", line))
    assert without_progress.count(printed) == 1
    assert_equal(tables(output), expected)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_a_signal_before_the_time_limit(cluster, study, tmp_path):
    jobs = []
    for launcher, nodes in (("srun", 1), ("mpirun", 2)):
        output = tmp_path / launcher / "results.h5"
        output.parent.mkdir()
        jobs.append((output, cluster.submit("search.sbatch", f"--nodes={nodes}", "--ntasks-per-node=2", "--gres=gpu:2",
                                            CONFIG=str(study[0]), OUTPUT=str(output), BACKEND="cpu", LAUNCHER=launcher)))
    for output, job in jobs:
        wait_for_results(output)
    cluster.client("scontrol", "update", "partitionname=all", "state=down")  # nothing starts again before we have looked
    known = []
    try:
        for output, job in jobs:
            cluster.client("scancel", "--batch", "--signal=USR1", job)  # what --signal=B:USR1@... does
        for output, job in jobs:
            wait_for_requeue(cluster, job)
            assert "stopped by a signal; go on with --resume" in cluster.log(job)  # by the ranks
            assert "stopped by a signal; queued again" in cluster.log(job)  # by the script
            assert not output.exists()
            known.append(recorded(output))
    finally:
        cluster.client("scontrol", "update", "partitionname=all", "state=up")  # other tests need it
    for (output, job), results in zip(jobs, known):
        assert_went_on(cluster, job, output, study, results)


def test_a_node_that_goes_down(cluster, study, tmp_path):
    output = tmp_path / "results.h5"
    job = cluster.submit("cpu.sbatch", "--nodes=2", "--ntasks-per-node=1", CONFIG=str(study[0]), OUTPUT=str(output),
                         LAUNCHER="mpirun")
    wait_for_results(output)
    node = cluster.client("scontrol", "show", "hostnames", cluster.job(job)["NodeList"]).split()[1]
    cluster.client("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        wait_for_requeue(cluster, job)
        assert_went_on(cluster, job, output, study)  # on the nodes that are left
    finally:
        cluster.client("scontrol", "update", f"nodename={node}", "state=resume", check=False)  # it may be back already


def test_kills(cluster, study, tmp_path):
    """Of one rank and of a whole step of srun."""
    jobs = {}
    for victim in ("rank", "step"):
        output = tmp_path / victim / "results.h5"
        output.parent.mkdir()
        jobs[victim] = output, cluster.submit("cpu.sbatch", "--nodes=1", "--ntasks-per-node=2", CONFIG=str(study[0]),
                                              OUTPUT=str(output))
    for victim, (output, job) in jobs.items():
        wait_for_results(output)
        if victim == "step":
            cluster.client("scancel", "--signal=KILL", f"{job}.0")
        else:
            ranks = ranks_of(cluster, output)
            assert len(ranks) == 2
            os.kill(max(ranks), signal.SIGKILL)
    for output, job in jobs.values():
        wait_for_requeue(cluster, job)
        assert "after new results; queued again" in cluster.log(job)
    for output, job in jobs.values():
        assert_went_on(cluster, job, output, study)


def ranks_of(cluster, output):
    """Processes of the program itself that write this output."""
    def is_rank(process):
        try:
            return (os.readlink(f"/proc/{process}/exe") == str((BUILD / "bitcluster").resolve())
                    and str(output).encode() in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0"))
        except OSError:  # it has ended
            return False
    return [process for process in cluster.processes() if is_rank(process)]


def test_what_cannot_succeed_is_not_tried_again(cluster, study, tmp_path):
    output = tmp_path / "results.h5"
    broken = tmp_path / "broken.toml"
    broken.write_text(study[0].read_text().replace('data = "', 'data = "/nowhere'))
    jobs = [
        cluster.submit("cpu.sbatch", "--nodes=1", "--ntasks-per-node=2", CONFIG=str(broken), OUTPUT=str(output)),
        cluster.submit("cpu.sbatch", "--nodes=1", "--ntasks-per-node=2", CONFIG=str(study[0]), OUTPUT=str(output),
                       COMMAND="ran"),
        cluster.submit("cpu.sbatch", "--nodes=1", "--ntasks-per-node=1", CONFIG=str(study[0]), OUTPUT=str(output),
                       BITCLUSTER_ROOT=str(ROOT), PROGRAM="/nowhere/bitcluster"),
    ]
    for job, message in zip(jobs, ("/nowhere", "A subcommand is required", "is not there")):
        ended = cluster.finish(job)
        assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "0") and message in cluster.log(job)
        assert "queued again" not in cluster.log(job).replace("not queued again", "")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.toml"]


def test_a_cancelled_job_stays_cancelled(cluster, study, tmp_path):
    output = tmp_path / "results.h5"
    job = cluster.submit("cpu.sbatch", "--nodes=1", "--ntasks-per-node=2", CONFIG=str(study[0]), OUTPUT=str(output))
    wait_for_results(output)
    cluster.client("scancel", job)
    ended = cluster.finish(job)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    assert recorded(output) > 0
    # submitted again, it goes on
    assert not output.exists()
    job = cluster.submit("cpu.sbatch", "--nodes=1", "--ntasks-per-node=2", CONFIG=str(study[0]), OUTPUT=str(output))
    assert cluster.finish(job)["JobState"] == "COMPLETED" and "results are known" in cluster.log(job)
    assert_equal(tables(output), study[1])


def test_models_as_an_array_and_their_report(cluster, quick_study, tmp_path):
    config, expected, printed = quick_study
    output = tmp_path / "all.h5"
    submitted = cluster.client(ROOT / "slurm/submit", config, output, "--cpus-per-task=1")
    report = re.search(r"report: job (\d+)", submitted)[1]
    ended = cluster.finish(report)
    print(cluster.log(report)[-3000:])
    assert ended["JobState"] == "COMPLETED"
    assert cluster.log(report) == printed
    assert_equal(tables(output), expected)
    assert output.with_suffix(".md").read_text().startswith("**Top-1 accuracy")
    assert {path.name for path in tmp_path.iterdir()} == {"all.h5", "all.md", "all-00-alexnet.h5",
                                                          "all-01-resnet18.h5"}


def test_no_report_where_a_model_failed(cluster, quick_study, tmp_path):
    config = tmp_path / "config.toml"
    (tmp_path / "broken.onnx").write_text("no model")
    text = quick_study[0].read_text()
    config.write_text(text.replace(f"{ROOT}/configs/models/resnet18.onnx", str(tmp_path / "broken.onnx")))
    assert config.read_text() != text
    output = tmp_path / "all.h5"
    submitted = cluster.client(ROOT / "slurm/submit", config, output, "--cpus-per-task=1")
    report = re.search(r"report: job (\d+)", submitted)[1]
    assert cluster.finish(report)["JobState"] == "CANCELLED"
    wait_for("the nodes to be free", lambda: cluster.idle_nodes() == NODES)
    assert {path.name for path in tmp_path.iterdir()} == {"config.toml", "broken.onnx", "all-00-alexnet.h5"}
