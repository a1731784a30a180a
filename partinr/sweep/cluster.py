"""How runs get onto a cluster: the settings of its jobs, and how jobs are submitted, looked after and ended.

The ids of jobs are plain text. Whoever has kept them can ask for their jobs from another process, days later.
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
from partinr.sweep.slurm import State

Count = Annotated[int, Field(ge=1)]

ARRAY_SIZE = 1000
"""Jobs of one array; Slurm takes 1,001 unless it is told otherwise."""


MAX_TIMEOUTS = 1000
"""How often a job may use up its time, if nothing else is said."""

_DEAF = (
    "import os, signal, sys; "
    "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR2, signal.SIGTERM)); "
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Until torch is imported nobody could answer a signal, and the job would die of it. So it waits, until
:class:`partinr.sweep.jobs.Job` listens."""

PYTHON = f"{shlex.quote(sys.executable)} -c {shlex.quote(_DEAF)}"

PYTHON_APART = f"{shlex.quote(sys.executable)} -c {shlex.quote(_DEAF.replace('os.execv', 'os.setsid(); os.execv'))}"
"""The same, out of reach of the terminal's Ctrl-C."""


class Cluster(Protocol):
    """Where jobs run."""

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit jobs.

        Args:
            jobs: the run directories that each of them goes on with.
            nodes: how many each job gets; on several, its runs are spread over all of them.

        Returns:
            An id for each list of runs.

        Raises:
            PartinrError: the cluster refuses them, or there is none.
        """
        ...

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """How jobs stand.

        Raises:
            PartinrError: the cluster does not answer; nothing is known then.
        """
        ...

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs. Runs that go on are asked to save and stop."""
        ...


@spec
class SlurmSettings:
    """Jobs of Slurm: ``hydra/launcher=submitit_slurm``.

    Attributes:
        name: of the jobs, in the queue.
        timeout_min: minutes that a job may take. A run that takes longer is saved in time and queued again.
        signal_delay_s: so many seconds before that it is told to save.
        mem_gb: memory of each node, in GB; None for the cluster's default.
        cpus_per_task: cores on each node.
        gpus_per_node: on each node.
        partition: of the cluster; None for its default.
        account: who pays.
        qos: quality of service.
        array_parallelism: so many jobs of a sweep at most run at the same time.
        runs_per_job: so many runs share a job, one after another.
        at_once: so many of them at the same time, on the job's GPU or cores; each has an equal part of the cores.
        setup: lines of shell before a job starts.
        max_num_timeout: how often a job may use up its time. submitit counts it as used up from 80 % on, or 10 minutes
            before its end, so that of a short job every preemption counts; hence many.
        stderr_to_stdout: one log a job and not two.
        additional_parameters: further options of sbatch, by their long names.
        wait: whether the command waits for the runs, and says what became of them; else it ends when they are
            submitted, and the same command waits for them later.
        retries: a run whose job ended without an answer, as when its process was killed, is submitted again so often.
    """

    name: str = "partinr"
    timeout_min: Count = 60
    signal_delay_s: Count = 120
    mem_gb: Annotated[float, Field(gt=0)] | None = None
    cpus_per_task: Count = 1
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    array_parallelism: Count = 256
    runs_per_job: Count = 1
    at_once: Count = 1
    setup: list[str] = field(default_factory=list)
    max_num_timeout: Annotated[int, Field(ge=0)] = MAX_TIMEOUTS
    stderr_to_stdout: bool = True
    additional_parameters: dict[str, str | int | float | bool] = field(default_factory=dict)
    wait: bool = True
    retries: Annotated[int, Field(ge=0)] = 2

    def __post_init__(self) -> None:
        """Check what concerns several settings."""
        _check(self)

    def sbatch(self, nodes: int = 1) -> dict[str, Any]:
        """The settings as submitit's ``SlurmExecutor.update_parameters`` takes them."""
        from submitit.slurm.slurm import _convert_mem

        given = {
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
            # One on each node, which starts the processes for the node's devices itself.
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus_per_task,
            # From Slurm 22.05 on srun does not take it from sbatch, and a task would get one core.
            "srun_args": [f"--cpus-per-task={self.cpus_per_task}"],
            "array_parallelism": self.array_parallelism,
            "stderr_to_stdout": self.stderr_to_stdout,
            # Some clusters queue no job again that has not asked for it.
            "additional_parameters": {"requeue": True, **self.additional_parameters},
            **{key: value for key, value in given.items() if value is not None},
        }


@spec
class LocalSettings:
    """Jobs on this machine, which go on when the terminal is closed: ``hydra/launcher=submitit_local``.

    Attributes:
        jobs: so many at most; more runs than that take turns in them.
        timeout_min: minutes that a job may take. A run that takes longer is saved in time and goes on in a new process,
            six times at most: submitit gives up then.
        signal_delay_s: so many seconds before that it is told to save.
        gpus_per_node: so many GPUs are visible to each job.
        runs_per_job: so many runs share a job, at least.
        at_once: so many of them at the same time; each has an equal part of the cores.
        setup: lines of shell before a job starts.
        stderr_to_stdout: one log a job and not two.
        wait: whether the command waits for the runs, and says what became of them; else it ends when they are
            submitted, and the same command waits for them later.
        retries: a run whose job ended without an answer, as when its process was killed, is submitted again so often.
    """

    jobs: Count = 1
    timeout_min: Count = 7 * 24 * 60
    signal_delay_s: Count = 120
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    runs_per_job: Count = 1
    at_once: Count = 1
    setup: list[str] = field(default_factory=list)
    stderr_to_stdout: bool = True
    wait: bool = True
    retries: Annotated[int, Field(ge=0)] = 2

    def __post_init__(self) -> None:
        """Check what concerns several settings."""
        _check(self)


def _check(settings: SlurmSettings | LocalSettings) -> None:
    """Check what concerns several settings.

    Raises:
        PartinrError: they do not go together.
    """
    at_once, runs_per_job = settings.at_once, settings.runs_per_job
    if settings.signal_delay_s >= 60 * settings.timeout_min:
        raise PartinrError(
            f"signal_delay_s={settings.signal_delay_s} leaves a job of timeout_min={settings.timeout_min} no time to "
            "run; give a longer one, or a shorter signal_delay_s"
        )
    if at_once > runs_per_job:
        raise PartinrError(
            f"at_once={at_once} needs as many runs in a job, and runs_per_job={runs_per_job}; give a larger one"
        )


def packed(runs: Sequence[Path], runs_per_job: int) -> list[list[Path]]:
    """Runs by jobs, in their order."""
    return [list(runs[first : first + runs_per_job]) for first in range(0, len(runs), runs_per_job)]


@contextlib.contextmanager
def _as_from_outside() -> Iterator[None]:
    """A job that is submitted from within another one inherits nothing of it, and submitit keeps quiet."""
    from submitit.helpers import clean_env

    where = os.environ.get("SLURM_CONF")
    with clean_env(), contextlib.redirect_stderr(io.StringIO()):
        if where is not None:
            os.environ["SLURM_CONF"] = where
        yield


@contextlib.contextmanager
def _out_of_reach() -> Iterator[None]:
    """Processes that are started inside go on when the terminal is closed, or when Ctrl-C ends this process."""
    heard = (signal.SIGHUP, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    # What is ignored stays so in another program.
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


class Slurm:
    """Submits to Slurm.

    Args:
        settings: of the jobs.
        folder: for their scripts and logs; has to be on a disk that all nodes see.

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
        ids: list[str] = []
        for first in range(0, len(jobs), ARRAY_SIZE):
            submitted = []
            try:
                with _as_from_outside(), executor.batch():
                    for runs in jobs[first : first + ARRAY_SIZE]:
                        submitted.append(executor.submit(_job(runs, self._settings.at_once)))
            except (FailedJobError, FailedSubmissionError) as error:
                self.cancel(ids)
                reason = " ".join(str(error).split()).removeprefix("sbatch: error: ")
                raise PartinrError(f"Slurm refuses the jobs: {reason}") from error
            ids += [job.job_id for job in submitted]
        return ids

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """How jobs stand; see :func:`partinr.sweep.slurm.states`."""
        return slurm.states(ids)

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs; see :func:`partinr.sweep.slurm.cancel`."""
        slurm.cancel(ids)


class Local:
    """Submits to this machine: each job is a process that outlives this one. An id is the number of a process.

    Args:
        settings: of the jobs.
        folder: for their scripts and logs.

    Raises:
        PartinrError: there is no submitit.
    """

    def __init__(self, settings: LocalSettings, folder: Path) -> None:
        _needs_submitit()
        self._settings = settings
        self._folder = folder
        # They hold the processes, which are to be waited for when they end.
        self._jobs: list[Any] = []

    def submit(self, jobs: Sequence[Sequence[Path]], nodes: int = 1) -> list[str]:
        """Submit jobs; there are no more than :attr:`LocalSettings.jobs`, and those that share one share its id.

        Raises:
            PartinrError: for several nodes.
        """
        from submitit import LocalExecutor

        if nodes > 1:
            raise PartinrError(f"trainer.num_nodes={nodes} needs a cluster: choose hydra/launcher=submitit_slurm")
        executor = LocalExecutor(folder=self._folder / "%j", max_num_timeout=MAX_TIMEOUTS, python=PYTHON_APART)
        executor.update_parameters(
            timeout_min=self._settings.timeout_min,
            signal_delay_s=self._settings.signal_delay_s,
            gpus_per_node=self._settings.gpus_per_node,
            setup=self._settings.setup,
            stderr_to_stdout=self._settings.stderr_to_stdout,
        )
        number = min(self._settings.jobs, len(jobs))
        with _as_from_outside(), _out_of_reach():
            made = [
                executor.submit(_job([run for runs in jobs[first::number] for run in runs], self._settings.at_once))
                for first in range(number)
            ]
        self._jobs += made
        return [made[index % number].job_id for index in range(len(jobs))]

    def states(self, ids: Iterable[str]) -> dict[str, State]:
        """How jobs stand; none waits."""
        for job in self._jobs:
            job.done()  # takes note of its end; else the process would stay as a zombie
        return {each: "gone" if self._process(each) is None else "running" for each in ids}

    def cancel(self, ids: Iterable[str]) -> None:
        """Ask jobs to save and stop."""
        for each in dict.fromkeys(ids):
            process = self._process(each)
            if process is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    # With lines of setup it is a shell, which would end and leave the rest alone.
                    for one in (process, *process.children()):
                        if "submitit.local._local" in one.cmdline():
                            # It passes the signal on, and starts nothing anew.
                            one.send_signal(signal.SIGTERM)

    def _process(self, number: str) -> psutil.Process | None:
        """The controller of a job, and no other process that has got its number."""
        try:
            process = psutil.Process(int(number))
            if process.status() != psutil.STATUS_ZOMBIE and str(self._folder / "%j") in " ".join(process.cmdline()):
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
            pass
        return None


def _job(runs: Sequence[Path], at_once: int) -> Any:
    # Late: who only asks for jobs need not wait for torch.
    from partinr.sweep.jobs import Job

    return Job(tuple(str(run.absolute()) for run in runs), at_once)
