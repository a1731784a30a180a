"""A real Slurm on this host, and runs for it to disturb."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
import psutil
import pytest

from partinr.experiment import config, names
from partinr.experiment.conf import conf_dir
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import config_hash
from partinr.sweep.cluster import Slurm, SlurmSettings
from partinr.sweep.folders import register_names
from partinr.sweep.launchers import register
from partinr.sweep.queue import Sweep
from tests.read_back import curve, manifest, rows

NODES = ("n1", "n2", "n3")
"""Two to work on, and one to lose."""

CORES = 32
"""Of each node, whatever the host has: runs are tiny."""

CONF = """\
ClusterName=partinr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
CredType=cred/munge
# A job that is queued again waits for the end of its credentials, two minutes by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmUser=root
SlurmdUser=root
# Nodes of more cores than the host has.
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# What a test's job can have for itself alone, so that another one has to take it away.
GresTypes=seat,bench
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmdTimeout=4
KillWait=10
MinJobAge=300
{nodes}
PartitionName=calm Nodes=n1,n2,n3 Default=YES PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
PartitionName=low Nodes=n1,n2,n3 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0 MaxTime=INFINITE
PartitionName=grace Nodes=n1,n2,n3 PriorityTier=1 PreemptMode=REQUEUE GraceTime=60 MaxTime=INFINITE
PartitionName=high Nodes=n1,n2,n3 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
"""

STEPS = 240
ALL = (
    # Without the fused engine, whose kernels every process would load again.
    "engine=batched",
    "partition.regions=4",
    "trainer.accelerator=cpu",
    "trainer.threads=1",
    "cache_dir=null",
    "callbacks.checkpoint.every_seconds=0",
    "callbacks.progress=null",
)
TINY = {
    "fit": (
        *ALL,
        "data.size=16",
        "backbone.match_params=500",
        "max_steps=240",
        "regime.evaluate_every=4",
        # Drawn points, momentum and a moving rate: all that a checkpoint has to bring back.
        "regime.points_per_step=100",
        "schedule=cosine",
    ),
    "meta": (
        *ALL,
        "regime=meta",
        "data=smooth",
        "data.shape=[12,12]",
        "data.train_items=6",
        "data.val_items=5",
        "backbone.hidden_features=8",
        "backbone.hidden_layers=1",
        "regime.validation_steps=4",
        "regime.evaluate_every=3",
        "max_steps=12",
    ),
}

HELD = """
import time
from pathlib import Path
from lightning import Callback

class Held(Callback):
    # While the gate is there a run does not get beyond its middle, so that it is caught in the act. A signal frees it.
    def __init__(self, gate):
        self.gate = Path(gate)

    def on_train_batch_end(self, trainer, module, *arguments):
        signals = [each for each in trainer.callbacks if hasattr(each, "received")]
        while module.step >= 60 and self.gate.exists() and not any(each.received for each in signals):
            time.sleep(0.05)
"""


@dataclass
class Cluster:
    """The daemons, and what they are asked."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, *words: str, check: bool = True) -> str:
        answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert not check or answer.returncode == 0, f"{' '.join(words)}: {answer.stderr}"
        return answer.stdout.strip()

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def start_node(self, name: str) -> None:
        self.start(name, "slurmd", "-D", "-N", name)

    def lose_node(self, name: str) -> None:
        """As if its plug were pulled."""
        self.daemons[name].kill()
        self.daemons.pop(name).wait()
        self.kill_steps(name)
        self.kill(SLURMD_NODENAME=name)

    def mend(self) -> None:
        """Bring lost nodes back and wait until all are idle, for the next test."""
        for name in NODES:
            if name not in self.daemons:
                self.start_node(name)
        wait_for(
            lambda: self.node_states() == dict.fromkeys(NODES, "idle"),
            lambda: f"{self.node_states()}\n{self.queue()}\n{(self.folder / 'slurmctld.out').read_text()[-2000:]}",
            100,
        )

    def node_states(self) -> dict[str, str]:
        """By name; nothing while the controller does not answer yet."""
        said = self.ask("sinfo", "-h", "-N", "-o", "%N %T", check=False)
        return dict(line.split() for line in said.splitlines())

    def job(self, number: str) -> dict[str, str]:
        """What Slurm says of a job."""
        said = self.ask("scontrol", "show", "job", "--oneliner", number, check=False)
        return dict(word.split("=", 1) for word in said.split() if "=" in word)

    def queue(self) -> str:
        return self.ask("squeue", "-o", "%i %P %T %r %R %S %l")

    def sbatch(self, *words: str) -> str:
        return self.ask("sbatch", "--parsable", f"--output={self.folder}/%j.log", *words)

    def kill(self, **environment: str) -> int:
        """Kill the processes of jobs that have these variables, without warning; how many there were."""
        wanted = {"SLURM_CONF": os.environ["SLURM_CONF"], **environment}
        killed = 0
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                its = process.environ()
                if "SLURM_JOB_ID" in its and wanted.items() <= its.items():
                    process.kill()
                    killed += 1
        return killed

    def kill_steps(self, *nodes: str) -> None:
        """Kill the processes that watch jobs on nodes; only their log file identifies them."""
        logs = {str(self.folder / f"slurmd-{node}.log") for node in nodes}
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.name() == "slurmstepd" and logs & {file.path for file in process.open_files()}:
                    process.kill()

    def stop(self) -> None:
        """End everything, however it stands."""
        for process in self.daemons.values():
            process.kill()
        for process in self.daemons.values():
            process.wait()
        self.kill_steps(*NODES)
        self.kill()


def free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_for(condition: Callable[[], Any], what: Callable[[], object] | str, seconds: float = 60) -> None:
    """Wait for something.

    Raises:
        AssertionError: it took too long.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what if isinstance(what, str) else what()
        time.sleep(0.1)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """:func:`wait_for`."""
    return wait_for


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """All nodes are idle. Everything ends with the tests."""
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "srun") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not on the PATH (Debian: apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("only root can start a Slurm that runs jobs")
    folder = tmp_path_factory.mktemp("cluster")
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    port, *ports = free_ports(1 + len(NODES))
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={number} CPUs={CORES} Gres=seat:1,bench:1"
        for name, number in zip(NODES, ports, strict=True)
    )
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname(), port=port, folder=folder, nodes=nodes))
    made = Cluster(folder)
    (folder / "gres.conf").write_text("Name=seat Count=1\nName=bench Count=1\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "SQUEUE", "SUBMITIT"))]:
            patch.delenv(name)
        patch.setenv("SLURM_CONF", str(conf))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        (folder / "held.py").write_text(HELD)
        # Here a configuration is checked before it is frozen.
        patch.syspath_prepend(str(folder))
        try:
            made.start(
                "munged",
                *("munged", "--foreground", "--force", "--num-threads=2"),
                *(f"--{what}={folder}/munge.{what.split('-')[0]}" for what in ("key-file", "socket", "pid-file")),
                *(f"--{what}={folder}/munge.{what.split('-')[0]}" for what in ("log-file", "seed-file")),
            )
            wait_for((folder / "munge.socket").exists, "munged does not start", 20)
            made.start("slurmctld", "slurmctld", "-D")
            made.mend()
            yield made
        finally:
            made.stop()


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def queued(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``queued("name", "seed=1", held=True)``: the directory of a run that is frozen and has not begun."""
    folder = tmp_path_factory.mktemp("runs")
    # As the command does, before it composes.
    names.register_resolvers()
    register_names([])
    register(Sweep(str))

    def make(name: str, *overrides: str, held: bool = False, base: str = "fit") -> Path:
        run = folder / name
        gate = run.with_name(f"{name}.gate")
        words = [*TINY[base], *overrides]
        if held:
            gate.touch()
            words += ["+callbacks.held._target_=held.Held", f"+callbacks.held.gate={gate}"]
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            plain = config.read(hydra.compose("train", words)).plain
        made = RunDirectory.create(run, plain, words)
        made.write_manifest({"status": "queued", "config_hash": config_hash(plain)})
        return run

    return make


def open_gate(run: Path) -> None:
    run.with_name(f"{run.name}.gate").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def unbroken(queued: Callable[..., Path]) -> Callable[..., Path]:
    """The same run in one go, in this process: ``unbroken("seed=1")``."""
    from partinr.experiment.execute import resume

    made: dict[tuple[str, ...], Path] = {}

    def run(*overrides: str, base: str = "fit") -> Path:
        key = (base, *overrides)
        if key not in made:
            made[key] = queued(f"unbroken-{len(made)}", *overrides, base=base)
            assert resume(made[key]).exit_code == 0
        return made[key]

    return run


@pytest.fixture(scope="session")
def same() -> Callable[[Path, Path], None]:
    """Whether a run ended as the unbroken one did: curve and figures; the clocks only ever went on."""

    def check(run: Path, other: Path) -> None:
        one, two = manifest(run), manifest(other)
        assert (one["status"], one["message"], one["stop"]) == ("completed", None, "max_steps")
        assert curve(run) == curve(other)
        for key in ("steps", "metrics", "parameters", "signal", "seed"):
            assert one[key] == two[key], key
        seconds = [float(row["seconds"]) for row in rows(run)]
        assert seconds == sorted(seconds)

    return check


@dataclass
class Submitted:
    """A job and its runs."""

    cluster: Cluster
    slurm: Slurm
    job: str
    runs: list[Path]

    @property
    def state(self) -> str:
        return self.slurm.states([self.job])[self.job]

    def log(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')}"
            for path in sorted(self.slurm._folder.parent.rglob(f"{self.job}_*log*"))
        )

    def said(self) -> str:
        """All that can be said where a test fails."""
        said = [self.cluster.queue(), self.cluster.job(self.job), *map(manifest, self.runs), self.log()]
        return "\n".join(map(str, said))

    def wait_under_way(self, run: Path | None = None) -> None:
        """Until a run is in the midst, with a checkpoint."""
        folder = run or self.runs[0]
        wait_for(lambda: len(rows(folder)) > 3 and (folder / "checkpoints/last.ckpt").exists(), self.said, 100)

    def wait_over(self, seconds: float = 100) -> None:
        """Until Slurm has done with the job."""
        wait_for(lambda: self.state == "gone", self.said, seconds)

    def let_go(self) -> None:
        for run in self.runs:
            open_gate(run)


@pytest.fixture(scope="session")
def submit_array(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Submitted]]:
    """``submit_array([[run], [run, run]], partition="low", timeout_min=1)``: a job for each list of runs."""

    def do(jobs: list[list[Path]], nodes: int = 1, **settings: Any) -> list[Submitted]:
        given = {"timeout_min": 10, "partition": "calm", **settings}
        slurm = Slurm(SlurmSettings(**given), tmp_path_factory.mktemp("jobs"))
        ids = slurm.submit(jobs, nodes=nodes)
        return [Submitted(cluster, slurm, job, runs) for job, runs in zip(ids, jobs, strict=True)]

    return do


@pytest.fixture(scope="session")
def submit(submit_array: Callable[..., list[Submitted]]) -> Callable[..., Submitted]:
    """``submit([run, run], partition="low", timeout_min=1)``: one job."""

    def do(runs: list[Path], nodes: int = 1, **settings: Any) -> Submitted:
        (job,) = submit_array([runs], nodes, **settings)
        return job

    return do
