"""How runs get onto a cluster: the settings of its jobs, and how jobs are submitted and looked after.

submitit writes the scripts, submits arrays and queues interrupted jobs again. Added here is what it lacks: jobs that
outlive the command and are found again by their id, states without Slurm's accounting, and processes on this machine
that survive the terminal. Ids are plain text, so that another process can ask for the jobs later.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Protocol

import psutil
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.sweep import slurm
from partinr.sweep.jobs import Job
from partinr.sweep.slurm import State

Count = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]

ARRAY_SIZE = 1000
"""Jobs of one array; Slurm takes 1,001 by default."""

MAX_TIMEOUTS = 1000
"""How often a job may use up its time, by default."""

_DEAF = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2, signal.SIGTERM)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Blocks signals until :class:`partinr.sweep.jobs.Job` listens: while torch is imported they would kill the job."""

PYTHON = f"{shlex.quote(sys.executable)} -c {shlex.quote(_DEAF)}"

PYTHON_APART = f"{shlex.quote(sys.executable)} -c {shlex.quote(_DEAF.replace('os.execv', 'os.setsid(); os.execv'))}"
"""The same, out of reach of the terminal's Ctrl-C."""


class Cluster(Protocol):
    """Where jobs run."""

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit jobs.

        Args:
            jobs: the run directories that each job goes on with.
            nodes: how many each job gets; a run is spread over all of them.

        Returns:
            An id for each list of runs.

        Raises:
            PartinrError: the cluster refuses them, or there is none.
        """
        ...

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """The states of jobs.

        Raises:
            PartinrError: the cluster does not answer.
        """
        ...


@spec
class JobSettings:
    """What the jobs of all clusters share.

    Attributes:
        timeout_min: minutes that a job may take. A run that takes longer is saved in time and goes on in a new job.
        signal_delay_s: a job is told to save so many seconds before its time is up.
        gpus_per_node: GPUs of each node.
        runs_per_job: how many runs share a job, one after another.
        at_once: how many of them run at the same time, on the job's GPU or cores; each has an equal part of the cores.
        setup: lines of shell before a job starts.
        stderr_to_stdout: one log a job, not two.
        wait: whether the command waits for the runs and shows how they ended. Without, it ends when they are submitted,
            and the same command waits for them later.
        retries: how often a run is submitted again when its job ended without an answer, as when it was killed.
    """

    timeout_min: Count = 60
    signal_delay_s: Count = 120
    gpus_per_node: Number = 0
    runs_per_job: Count = 1
    at_once: Count = 1
    setup: list[str] = field(default_factory=list)
    stderr_to_stdout: bool = True
    wait: bool = True
    retries: Number = 2

    def __post_init__(self) -> None:
        """Check settings against each other.

        Raises:
            PartinrError: they do not go together.
        """
        if self.signal_delay_s >= 60 * self.timeout_min:
            raise PartinrError(
                f"signal_delay_s={self.signal_delay_s} leaves a job of timeout_min={self.timeout_min} no time to run; "
                "give a longer one, or a shorter signal_delay_s"
            )
        if self.at_once > self.runs_per_job:
            raise PartinrError(
                f"at_once={self.at_once} needs as many runs in a job, and runs_per_job={self.runs_per_job}; "
                "give a larger one"
            )


@spec
class SlurmSettings(JobSettings):
    """Jobs of Slurm: ``hydra/launcher=submitit_slurm``. See :class:`JobSettings` for the others.

    Attributes:
        name: of the jobs, in the queue.
        mem_gb: memory of each node, in GB; None for the cluster's default.
        cpus_per_task: cores of each node.
        partition: of the cluster; None for its default.
        account: who pays.
        qos: quality of service.
        array_parallelism: how many jobs of a sweep run at the same time, at most.
        max_num_timeout: how often a job may use up its time. submitit counts it as used up from 80 % on, or ten minutes
            before its end, so every preemption of a short job counts; hence many.
        additional_parameters: further options of sbatch, by their long names.
    """

    name: str = "partinr"
    mem_gb: Annotated[float, Field(gt=0)] | None = None
    cpus_per_task: Count = 1
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    array_parallelism: Count = 256
    max_num_timeout: Number = MAX_TIMEOUTS
    additional_parameters: dict[str, str | int | float | bool] = field(default_factory=dict)

    def sbatch(self, nodes: int = 1) -> dict[str, Any]:
        """The settings as submitit's ``SlurmExecutor.update_parameters`` takes them."""
        from submitit.slurm.slurm import _convert_mem

        optional = {
            "mem": None if self.mem_gb is None else _convert_mem(self.mem_gb),
            "gpus_per_node": self.gpus_per_node or None,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "setup": self.setup or None,
        }
        return {
            "job_name": self.name,
            "time": self.timeout_min,
            "signal_delay_s": self.signal_delay_s,
            "nodes": nodes,
            # One task a node, which starts the processes for the node's devices itself.
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus_per_task,
            # From Slurm 22.05 on, srun does not inherit it from sbatch, and a task would get one core.
            "srun_args": [f"--cpus-per-task={self.cpus_per_task}"],
            "array_parallelism": self.array_parallelism,
            "stderr_to_stdout": self.stderr_to_stdout,
            # Some clusters requeue only jobs that have asked for it.
            "additional_parameters": {"requeue": True, **self.additional_parameters},
            **{key: value for key, value in optional.items() if value is not None},
        }


@spec
class LocalSettings(JobSettings):
    """Jobs on this machine, which outlive the terminal: ``hydra/launcher=submitit_local``.

    A run that takes longer than ``timeout_min`` goes on in a new process, six times at most: submitit gives up then.

    Attributes:
        jobs: how many, at most; more runs than that take turns in them.
        timeout_min: see :class:`JobSettings`.
    """

    jobs: Count = 1
    timeout_min: Count = 7 * 24 * 60


def packed(runs: Sequence[Path], runs_per_job: int) -> list[list[Path]]:
    """Runs by jobs, in their order."""
    return [list(runs[first : first + runs_per_job]) for first in range(0, len(runs), runs_per_job)]


@contextlib.contextmanager
def _as_from_outside() -> Iterator[None]:
    """Hides from submitit that this process is itself part of a job, and what submitit prints."""
    from submitit.helpers import clean_env

    where = os.environ.get("SLURM_CONF")
    with clean_env(), contextlib.redirect_stderr(io.StringIO()):
        if where is not None:
            os.environ["SLURM_CONF"] = where
        yield


@contextlib.contextmanager
def _out_of_reach() -> Iterator[None]:
    """Lets processes that start inside survive a closed terminal and a Ctrl-C that ends this process."""
    heard = (signal.SIGHUP, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    # A child process inherits that a signal is ignored.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _needs_submitit() -> None:
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise PartinrError(
            "jobs are submitted by submitit, which is not here: pip install 'partinr[cluster]'"
        ) from error


def _job(runs: Sequence[Path], at_once: int) -> Job:
    return Job(tuple(str(run.absolute()) for run in runs), at_once)


class Slurm:
    """Submits to Slurm.

    Args:
        settings: of the jobs.
        folder: for scripts and logs; must be on a disk that all nodes see.

    Raises:
        PartinrError: there is no Slurm on this machine, or no submitit.
    """

    def __init__(self, settings: SlurmSettings, folder: Path) -> None:
        _needs_submitit()
        for command in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(command) is None:
                raise PartinrError(
                    f"there is no Slurm on this machine: {command} is not on the PATH; "
                    "log in where jobs are submitted, or choose hydra/launcher=submitit_local"
                )
        self._settings = settings
        self._folder = folder

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit jobs, as arrays; see :meth:`Cluster.submit`."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        if nodes > 1 and self._settings.at_once > 1:
            raise PartinrError(
                f"runs over {nodes} nodes do not share them: give at_once=1, or trainer.num_nodes=1 and smaller runs"
            )
        executor = SlurmExecutor(
            folder=self._folder / "%j", max_num_timeout=self._settings.max_num_timeout, python=PYTHON
        )
        executor.update_parameters(**self._settings.sbatch(nodes))
        submitted: list[Any] = []
        for first in range(0, len(jobs), ARRAY_SIZE):
            array = []
            try:
                with _as_from_outside(), executor.batch():
                    for runs in jobs[first : first + ARRAY_SIZE]:
                        array.append(executor.submit(_job(runs, self._settings.at_once)))
            except (FailedJobError, FailedSubmissionError) as error:
                for job in submitted:
                    job.cancel(check=False)
                reason = " ".join(str(error).split()).removeprefix("sbatch: error: ")
                raise PartinrError(f"Slurm refuses the jobs: {reason}") from error
            submitted += array
        return [str(job.job_id) for job in submitted]

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """The states of jobs; see :func:`partinr.sweep.slurm.states`."""
        return slurm.states(ids)


class Local:
    """Submits to this machine: a job is a process that outlives this one, and its id is the number of the process.

    Args:
        settings: of the jobs.
        folder: for scripts and logs.

    Raises:
        PartinrError: there is no submitit.
    """

    def __init__(self, settings: LocalSettings, folder: Path) -> None:
        _needs_submitit()
        self._settings = settings
        self._folder = folder
        self._jobs: dict[str, Any] = {}

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit jobs; there are no more than :attr:`LocalSettings.jobs`, and those that share one share its id.

        Raises:
            PartinrError: for several nodes.
        """
        from submitit import LocalExecutor

        if nodes > 1:
            raise PartinrError(f"trainer.num_nodes={nodes} needs a cluster: choose hydra/launcher=submitit_slurm")
        executor = LocalExecutor(folder=self._folder / "%j", max_num_timeout=MAX_TIMEOUTS, python=PYTHON_APART)
        shared = ("timeout_min", "signal_delay_s", "gpus_per_node", "setup", "stderr_to_stdout")
        executor.update_parameters(**{name: getattr(self._settings, name) for name in shared})
        number = min(self._settings.jobs, len(jobs))
        with _as_from_outside(), _out_of_reach():
            made = [
                executor.submit(_job([run for runs in jobs[first::number] for run in runs], self._settings.at_once))
                for first in range(number)
            ]
        self._jobs |= {job.job_id: job for job in made}
        return [made[index % number].job_id for index in range(len(jobs))]

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """The states of jobs; none waits."""
        return {each: "running" if self._runs(each) else "gone" for each in ids}

    def _runs(self, number: str) -> bool:
        """Whether the controller of a job runs; another process may have got its number since."""
        if number in self._jobs:
            return not self._jobs[number].done()  # which also reaps a process that has ended
        try:
            process = psutil.Process(int(number))
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and str(self._folder / "%j") in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            return False
