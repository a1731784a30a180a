"""What a job of a cluster does: go on with some runs, save them when the job has to end, and be queued again.

A job is nothing but a list of run directories, and finds there whatever happened before, to this job or to another one:
it skips a run that is completed, goes on with one that has a checkpoint, and begins one that has none.

submitit queues a job again when the job is warned (SIGUSR2: its time is nearly up, or somebody wants its place). Slurm
does so itself when it has taken the job's place, or when its node is lost. Never both, and never this module.
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
    # Only on the node: a job is made where torch is not needed.
    signals = Later("partinr.callbacks.interruption")
    execute = Later("partinr.experiment.execute")
    nodes = Later("partinr.experiment.nodes")

POLL_SECONDS = 0.2
"""How often a job asks for a run that somebody else still claims."""


@dataclass
class Job:
    """Goes on with runs; called on the node.

    Args:
        folders: absolute paths of run directories.
        at_once: how many runs share the node or its GPU at a time. One runs in this process; several run each in a
            process of its own, with an equal part of the cores.

    Attributes:
        codes: exit codes by folder: 0 completed, 1 failed, 2 refused, 128 + a signal's number if it was stopped or
            killed. Folders that nobody got to are missing.
    """

    folders: tuple[str, ...]
    at_once: int = 1

    def __call__(self) -> dict[str, int]:
        """Go on with the runs, and return :attr:`codes`. A failure is in ``run.json`` of its run, and ends no other.

        Raises:
            SystemExit: submitit queues the job again.
        """
        self.codes: dict[str, int] = {}  # not a field: a job may have been queued by an older partinr
        interruption = signals.Interruption(job=True)
        with interruption.listening():
            # They were blocked until somebody listens: see partinr.sweep.cluster.PYTHON.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signals.WARNING, signal.SIGTERM))
            if self.at_once == 1:
                self._one_by_one(interruption)
            else:
                self._side_by_side(interruption)
        received = interruption.received
        if self.left and received is not None and (received == signals.WARNING or preempted()):
            # Listening is over, so submitit's handler hears it.
            signal.raise_signal(signals.WARNING)
        return self.codes

    @property
    def left(self) -> tuple[str, ...]:
        """Folders of the runs that are not over. A run that failed is over: nobody tries it again by itself."""
        return tuple(
            folder for folder in self.folders if self.codes.get(folder) not in (0, 1, 2) and not _is_completed(folder)
        )

    def checkpoint(self) -> Any:
        """What submitit queues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.left, self.at_once))

    def _one_by_one(self, interruption: signals.Interruption) -> None:
        for folder in self.folders:
            if interruption.received is not None:
                break
            # On several nodes each has this job, for the runs that are spread over them.
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
    """Go on with one run in this process; returns its exit code, see :attr:`Job.codes`."""
    try:
        patience = time.monotonic() + 1.5 * LEASE_SECONDS
        while interruption.received is None:
            try:
                return execute.resume(Path(folder), writer_is_gone(folder), interruption).exit_code
            except BusyError as busy:
                if busy.seconds is None or time.monotonic() > patience:
                    raise
                # Most likely the attempt before, on a node that is lost; its claim ends by itself.
                time.sleep(min(busy.seconds, POLL_SECONDS))
        return 128 + interruption.received
    except PartinrError as error:
        return refuse(folder, error)
    except Exception as error:  # a fault of partinr's or of an extension's must not end the other runs
        traceback.print_exception(error)
        return refuse(folder, error)


def refuse(folder: str, error: Exception) -> int:
    """Say why a run cannot begin or go on, here and in its directory; returns the exit code."""
    reason = str(error) if isinstance(error, PartinrError) else f"{type(error).__name__}: {error}"
    print_error(reason)
    run = RunDirectory(Path(folder))
    try:
        manifest = run.manifest()
        # A run that others write, or that has said itself how it ended, is left alone.
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
        pass  # its directory is what is wrong, and that has just been said
    return 2 if isinstance(error, PartinrError) else 1


def writer_is_gone(folder: str) -> bool:
    """Whether the process that claims to write a run was part of a job of Slurm that is over.

    Nothing can be seen of a process on another host, but Slurm knows its job: it was an earlier attempt of this job, or
    it is no longer in the queue. For another user's job this cannot be told: many clusters do not show them.
    """
    run = RunDirectory(Path(folder))
    try:
        writer = run.manifest().get("job")
        if not isinstance(writer, str) or run.file(MANIFEST).stat().st_uid != os.getuid():
            return False
        return writer == slurm_job() or states([writer]) == {writer: "gone"}
    except (PartinrError, OSError):
        return False  # nothing is known; resume says what is wrong with the run


def _is_completed(folder: str) -> bool:
    try:
        return bool(RunDirectory(Path(folder)).manifest()["status"] == "completed")
    except PartinrError:
        return False  # resume says what is wrong


def _nodes(folder: str) -> int:
    """How many nodes a run is spread over."""
    try:
        return int(RunDirectory(Path(folder)).config()["trainer"]["num_nodes"])
    except (PartinrError, KeyError, TypeError, ValueError):
        return 1  # resume says what is wrong


def main(folder: str) -> int:
    """What a process does that goes on with one of several runs of a job."""
    interruption = signals.Interruption(job=True)
    with interruption.listening():
        return go_on(folder, interruption)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
