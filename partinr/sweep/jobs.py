"""The work of a cluster's job: execute runs, save them when the job must end, and be queued again.

A job is only a list of run directories, which contain all earlier progress, by this job or another one. It skips
completed runs, continues those with a checkpoint, and starts the others.

submitit queues a job again when the job is warned by SIGUSR2, because its time is nearly up or it is preempted. Slurm
queues it again when it has preempted the job or lost its node. Only one of them does so, and never this module.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.lock import LEASE_SECONDS
from partinr.base.notes import print_error
from partinr.runs.directory import BusyError, RunDirectory, slurm_job
from partinr.runs.layout import MANIFEST, WRITER
from partinr.sweep.crew import Crew
from partinr.sweep.slurm import preempted, states

if TYPE_CHECKING:
    from partinr.callbacks import interruption as signals
    from partinr.experiment import execute, nodes
else:
    # Imported on the node only, since making a job needs no torch.
    signals = Later("partinr.callbacks.interruption")
    execute = Later("partinr.experiment.execute")
    nodes = Later("partinr.experiment.nodes")

POLL_SECONDS = 0.2
"""Interval at which a job retries a run that another process still claims."""


@dataclass
class Job:
    """Executes or continues runs; called on the node.

    Args:
        folders: absolute paths of run directories.
        at_once: number of runs that share the node or its GPU. A single run is executed in this process; several have a
            process each, with an equal part of the cores.

    Attributes:
        codes: exit codes by folder: 0 completed, 1 failed, 2 refused, 128 + a signal's number if it was stopped or
            killed. Folders that were not reached are missing.
    """

    folders: tuple[str, ...]
    at_once: int = 1

    def __call__(self) -> dict[str, int]:
        """Execute the runs, and return :attr:`codes`. A failed run does not end the others.

        Raises:
            SystemExit: submitit queues the job again.
        """
        self.codes: dict[str, int] = {}  # not a field, since an older partinr may have queued the job
        interruption = signals.Interruption(job=True)
        with interruption.listening():
            # Signals were blocked until now, see partinr.sweep.cluster.PYTHON.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signals.WARNING, signal.SIGTERM))
            if self.at_once == 1:
                self._one_by_one(interruption)
            else:
                self._side_by_side(interruption)
        received = interruption.received
        if self.left and received is not None and (received == signals.WARNING or preempted()):
            # The listener has ended, so submitit's handler receives the signal.
            signal.raise_signal(signals.WARNING)
        return self.codes

    @property
    def left(self) -> tuple[str, ...]:
        """Folders of unfinished runs. Failed runs are finished, since they are not retried automatically."""
        return tuple(
            folder for folder in self.folders if self.codes.get(folder) not in (0, 1, 2) and not _is_completed(folder)
        )

    def checkpoint(self) -> Any:
        """The submission that submitit queues again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.left, self.at_once))

    def _one_by_one(self, interruption: signals.Interruption) -> None:
        for folder in self.folders:
            if interruption.received is not None:
                break
            # Each of several nodes executes this job, for runs that use all of them.
            if not _is_completed(folder) and (nodes.this_node() == 0 or _nodes(folder) > 1):
                self.codes[folder] = go_on(folder, interruption)

    def _side_by_side(self, interruption: signals.Interruption) -> None:
        crew = Crew(self.at_once, lambda folder: [sys.executable, "-m", "partinr.sweep.jobs", str(folder)])
        with interruption.listening(crew.send):
            if interruption.received is not None:
                return
            waiting = [Path(folder) for folder in self.folders if not _is_completed(folder)]
            for folder, code in crew.carry_out(waiting):
                self.codes[str(folder)] = code


def go_on(folder: str, interruption: signals.Interruption) -> int:
    """Execute or continue one run in this process; returns its exit code, see :attr:`Job.codes`."""
    try:
        patience = time.monotonic() + 1.5 * LEASE_SECONDS
        while interruption.received is None:
            try:
                return execute.resume(Path(folder), writer_is_gone(folder), interruption).exit_code
            except BusyError as busy:
                if busy.seconds is None or time.monotonic() > patience:
                    raise
                # Most likely an earlier attempt on a lost node, whose claim expires.
                time.sleep(min(busy.seconds, POLL_SECONDS))
        return 128 + interruption.received
    except PartinrError as error:
        return refuse(folder, error)
    except Exception as error:  # a fault of partinr or an extension must not end the other runs
        traceback.print_exception(error)
        return refuse(folder, error)


def refuse(folder: str, error: Exception) -> int:
    """Report why a run cannot begin or continue, here and in its directory; returns the exit code."""
    reason = str(error) if isinstance(error, PartinrError) else f"{type(error).__name__}: {error}"
    print_error(reason)
    run = RunDirectory(Path(folder))
    try:
        manifest = run.manifest()
        # Do not touch a run that another process writes, or that has recorded its own end.
        theirs = isinstance(error, BusyError) or run.alive
        if nodes.this_node() == 0 and manifest["status"] not in ("completed", "failed") and not theirs:
            run.write_manifest(
                {
                    **{key: value for key, value in manifest.items() if key not in WRITER},
                    "status": "failed",
                    "message": " ".join(reason.split())[:500],
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
    except (PartinrError, OSError):
        pass  # the directory itself is faulty, as just reported
    return 2 if isinstance(error, PartinrError) else 1


def writer_is_gone(folder: str) -> bool:
    """Whether the process that claims a run was part of a Slurm job that has ended.

    Processes on other hosts are invisible, but Slurm knows their job: it was an earlier attempt of this job, or it is
    no longer in the queue. This is unknown for another user's job, which many clusters do not show.
    """
    run = RunDirectory(Path(folder))
    try:
        writer = run.manifest().get("job")
        if not isinstance(writer, str) or run.file(MANIFEST).stat().st_uid != os.getuid():
            return False
        return writer == slurm_job() or states([writer]) == {writer: "gone"}
    except (PartinrError, OSError):
        return False  # unknown; resume reports faults of the run


def _is_completed(folder: str) -> bool:
    try:
        return bool(RunDirectory(Path(folder)).manifest()["status"] == "completed")
    except PartinrError:
        return False  # resume reports the fault


def _nodes(folder: str) -> int:
    """Number of nodes of a run."""
    try:
        return int(RunDirectory(Path(folder)).config()["trainer"]["num_nodes"])
    except (PartinrError, KeyError, TypeError, ValueError):
        return 1  # resume reports the fault


def main(folder: str) -> int:
    """The main function of a process for one of several runs of a job."""
    interruption = signals.Interruption(job=True)
    with interruption.listening():
        return go_on(folder, interruption)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
