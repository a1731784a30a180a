"""Settings of a cluster's jobs, and how jobs are submitted and observed.

submitit writes the scripts, submits arrays and queues interrupted jobs again. This module adds jobs that outlive the
command and are found again by their id, states without Slurm's accounting, and local processes that survive the
terminal. Ids are plain text, so that another process can ask for the jobs later.
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
from partinr.base.later import of_extra
from partinr.base.spec import spec
from partinr.sweep import slurm
from partinr.sweep.jobs import Job
from partinr.sweep.slurm import State

Count = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]

ARRAY_SIZE = 1000
"""Limit of jobs in an array; Slurm accepts 1,001 by default."""

MAX_TIMEOUTS = 1000
"""Default limit of how often a job may use up its time."""

_DEAF = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2, signal.SIGTERM)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Blocks signals until :class:`partinr.sweep.jobs.Job` listens, since they would kill the job while torch is
imported."""

PYTHON = f"{shlex.quote(sys.executable)} -c {shlex.quote(_DEAF)}"

PYTHON_APART = f"{shlex.quote(sys.executable)} -c {shlex.quote(_DEAF.replace('os.execv', 'os.setsid(); os.execv'))}"
"""The same in a new session, which the terminal's Ctrl-C does not reach."""


class Cluster(Protocol):
    """A place where jobs run."""

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit jobs.

        Args:
            jobs: the run directories for each job.
            nodes: number of nodes per job; each run uses all of them.

        Returns:
            an id for each list of runs.

        Raises:
            PartinrError: the cluster refuses the jobs, or there is no cluster.
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
    """Settings for the jobs of any cluster.

    Attributes:
        timeout_min: minutes that a job may take. A longer run is saved in time and continues in a new job.
        signal_delay_s: seconds before the end of its time at which a job is told to save.
        gpus_per_node: number of GPUs per node.
        runs_per_job: number of runs in a job, one after another.
        at_once: number of runs at the same time, on the job's GPU or cores; each has an equal part of the cores.
        setup: shell lines to execute before a job starts.
        stderr_to_stdout: write one log per job instead of two.
        wait: whether the command waits for the runs and prints their outcomes. Otherwise it ends after submitting, and
            the same command waits for them later.
        retries: how often a run is submitted again if its job ended without an answer, for example because it was
            killed.
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
        """Check that the settings are compatible.

        Raises:
            PartinrError: they are not.
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
        name: name of the jobs in the queue.
        mem_gb: memory of each node, in GB; None for the cluster's default.
        cpus_per_task: number of cores per node.
        partition: the cluster's partition; None for its default.
        account: account to charge.
        qos: quality of service.
        array_parallelism: limit of jobs of a sweep that run at the same time.
        max_num_timeout: how often a job may use up its time. submitit counts it as used up from 80 % on, or ten minutes
            before its end, so every preemption of a short job counts; the default is therefore high.
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
        """The settings for submitit's ``SlurmExecutor.update_parameters``."""
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
            # One task per node, which starts the processes for the node's devices.
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus_per_task,
            # From Slurm 22.05 on, srun does not inherit this from sbatch, and a task would get one core.
            "srun_args": [f"--cpus-per-task={self.cpus_per_task}"],
            "array_parallelism": self.array_parallelism,
            "stderr_to_stdout": self.stderr_to_stdout,
            # Some clusters requeue only jobs that ask for it.
            "additional_parameters": {"requeue": True, **self.additional_parameters},
            **{key: value for key, value in optional.items() if value is not None},
        }


@spec
class LocalSettings(JobSettings):
    """Jobs on this machine, which outlive the terminal: ``hydra/launcher=submitit_local``.

    A run that takes longer than ``timeout_min`` continues in a new process, at most six times, after which submitit
    gives up.

    Attributes:
        jobs: limit of jobs; further runs take turns in them.
        timeout_min: see :class:`JobSettings`.
    """

    jobs: Count = 1
    timeout_min: Count = 7 * 24 * 60


def packed(runs: Sequence[Path], runs_per_job: int) -> list[list[Path]]:
    """Runs in order, grouped by job."""
    return [list(runs[first : first + runs_per_job]) for first in range(0, len(runs), runs_per_job)]


@contextlib.contextmanager
def _as_from_outside() -> Iterator[None]:
    """Hide from submitit that this process is part of a job, and suppress submitit's output."""
    from submitit.helpers import clean_env

    where = os.environ.get("SLURM_CONF")
    with clean_env(), contextlib.redirect_stderr(io.StringIO()):
        if where is not None:
            os.environ["SLURM_CONF"] = where
        yield


@contextlib.contextmanager
def _out_of_reach() -> Iterator[None]:
    """Let processes that start inside survive a closed terminal and a Ctrl-C that ends this process."""
    heard = (signal.SIGHUP, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    # Child processes inherit ignored signals.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _job(runs: Sequence[Path], at_once: int) -> Job:
    return Job(tuple(str(run.absolute()) for run in runs), at_once)


class Slurm:
    """Submits to Slurm.

    Args:
        settings: settings of the jobs.
        folder: folder for scripts and logs, on a disk that all nodes share.

    Raises:
        PartinrError: Slurm or submitit is missing.
    """

    def __init__(self, settings: SlurmSettings, folder: Path) -> None:
        of_extra("submitit", "cluster", "jobs are submitted")
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
    """Submits to this machine. A job is a process that outlives this one; its id is the process number.

    Args:
        settings: settings of the jobs.
        folder: for scripts and logs.

    Raises:
        PartinrError: submitit is missing.
    """

    def __init__(self, settings: LocalSettings, folder: Path) -> None:
        of_extra("submitit", "cluster", "jobs are submitted")
        self._settings = settings
        self._folder = folder
        self._jobs: dict[str, Any] = {}

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit at most :attr:`LocalSettings.jobs` jobs; runs in one job share its id.

        Raises:
            PartinrError: several nodes are requested.
        """
        from submitit import LocalExecutor

        if nodes > 1:
            raise PartinrError(f"trainer.num_nodes={nodes} needs a cluster: choose hydra/launcher=submitit_slurm")
        # Without %j, for which LocalExecutor makes a folder of that very name.
        executor = LocalExecutor(folder=self._folder, max_num_timeout=MAX_TIMEOUTS, python=PYTHON_APART)
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
        """The states of jobs; no job waits."""
        return {each: "running" if self._runs(each) else "gone" for each in ids}

    def _runs(self, number: str) -> bool:
        """Whether the controller of a job is alive; another process may have its number by now."""
        if number in self._jobs:
            return not self._jobs[number].done()  # also reaps a process that has ended
        try:
            process = psutil.Process(int(number))
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and str(self._folder) in " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            return False
