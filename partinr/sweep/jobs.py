"""What a job of a cluster does: go on with some runs, save them when the job has to end, and be queued again.

A job is nothing but a list of run directories. Whatever happened before, to this job or to another one, is found there:
a run that is completed is skipped, one that has a checkpoint goes on from it, and one that has none begins.

Who queues a job again: submitit, when the job is warned (SIGUSR2: its time is nearly up, or somebody wants its place);
Slurm itself, when it has taken the job's place or its node is lost. Never both, and never this module.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.lock import LEASE_SECONDS
from partinr.callbacks.interruption import WARNING, Interruption
from partinr.experiment.nodes import this_node
from partinr.runs.directory import MANIFEST, WRITER, BusyError, RunDirectory, slurm_job
from partinr.sweep.slurm import preempted, states

POLL_SECONDS = 0.2
"""How often a job looks after the runs that it has started as processes."""


@dataclass
class Job:
    """Goes on with runs; called on the node.

    Args:
        folders: absolute paths of run directories.
        at_once: how many runs at a time share the node or its GPU: one runs in this process, several each in a process
            of its own, with an equal part of the cores.

    Attributes:
        codes: exit codes by folder: 0 completed, 1 failed, 2 refused, 128 + a signal's number if it was stopped or
            killed. Folders that nobody got to are missing.
    """

    folders: tuple[str, ...]
    at_once: int = 1

    def __call__(self) -> dict[str, int]:
        """Do it, and return :attr:`codes`. A failure is in ``run.json`` of its run, and ends nothing else.

        Raises:
            SystemExit: the job is to be queued again, as submitit has now asked for.
        """
        # Here and not when it is made: a job may have been queued by an older partinr.
        self.codes: dict[str, int] = {}
        interruption = Interruption(job=True)
        with interruption.listening():
            # They had to wait while there was nobody to hear them: see partinr.sweep.cluster.PYTHON.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (WARNING, signal.SIGTERM))
            if self.at_once == 1:
                self._one_by_one(interruption)
            else:
                self._side_by_side(interruption)
        received = interruption.received
        if self.left and received is not None and (received == WARNING or preempted()):
            # To whom it belongs: listening is over, so it is submitit's handler that hears it.
            signal.raise_signal(WARNING)
        return self.codes

    @property
    def left(self) -> tuple[str, ...]:
        """Folders of the runs that are not over; one that failed is, and is not tried again by itself."""
        return tuple(
            folder for folder in self.folders if self.codes.get(folder) not in (0, 1, 2) and not _is_completed(folder)
        )

    def checkpoint(self) -> Any:
        """What submitit queues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(Job(self.left, self.at_once))

    def _one_by_one(self, interruption: Interruption) -> None:
        for folder in self.folders:
            if interruption.received is not None:
                break
            # On several nodes each has this job, for the runs that are spread over them.
            if not _is_completed(folder) and (this_node() == 0 or _nodes(folder) > 1):
                self.codes[folder] = _go_on(folder, interruption)

    def _side_by_side(self, interruption: Interruption) -> None:
        waiting = list(self.folders)
        running: dict[str, subprocess.Popen[bytes]] = {}

        def forward(number: int) -> None:
            for process in running.values():
                process.send_signal(number)

        with interruption.listening(forward):
            while running or (waiting and interruption.received is None):
                if waiting and interruption.received is None and len(running) < self.at_once:
                    folder = waiting.pop(0)
                    if not _is_completed(folder):
                        running[folder] = _start(folder, self.at_once)
                        _catch_up(running[folder], interruption)
                    continue
                for folder, process in list(running.items()):
                    code = process.poll()
                    if code is not None:
                        del running[folder]
                        self.codes[folder] = 128 - code if code < 0 else code
                time.sleep(POLL_SECONDS)


def _go_on(folder: str, interruption: Interruption) -> int:
    """Go on with one run in this process."""
    from partinr.experiment.execute import resume

    try:
        patience = time.monotonic() + 1.5 * LEASE_SECONDS
        while interruption.received is None:
            try:
                return resume(Path(folder), writer_is_gone(folder), interruption).exit_code
            except BusyError as busy:
                if busy.seconds is None or time.monotonic() > patience:
                    raise
                # Most likely this run's attempt before, on a node that is gone; its claim ends by itself.
                time.sleep(min(busy.seconds, POLL_SECONDS))
        return 128 + interruption.received
    except PartinrError as error:
        return refuse(folder, error)
    except Exception as error:  # a fault of partinr's or of an extension's: the other runs are not to blame
        traceback.print_exception(error)
        return refuse(folder, error)


def refuse(folder: str, error: Exception) -> int:
    """Say why a run cannot begin or go on: here, and in its directory, where it will be looked for.

    Returns:
        The exit code.
    """
    reason = str(error) if isinstance(error, PartinrError) else f"{type(error).__name__}: {error}"
    print(f"partinr: error: {' '.join(reason.split())}", file=sys.stderr, flush=True)
    run = RunDirectory(Path(folder))
    try:
        manifest = run.manifest()
        # A run that others are at, who may not have said so yet, or that has said itself how it ended, is left alone.
        theirs = isinstance(error, BusyError) or run.alive
        if this_node() == 0 and manifest["status"] not in ("completed", "failed") and not theirs:
            run.write_manifest(
                {
                    **{key: value for key, value in manifest.items() if key not in WRITER},
                    "status": "failed",
                    "message": " ".join(reason.split())[:500],
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                }
            )
    except (PartinrError, OSError):
        pass  # then its directory is what is wrong, which has just been said
    return 2 if isinstance(error, PartinrError) else 1


def writer_is_gone(folder: str) -> bool:
    """Whether the process that says it writes a run was part of a job of Slurm that is over.

    On another host nothing can be seen of a process; but Slurm knows of its job. It was the attempt before of this job,
    or it is no longer in the queue. Of another user's job this cannot be told: many clusters do not show them.
    """
    run = RunDirectory(Path(folder))
    try:
        writer = run.manifest().get("job")
        if not isinstance(writer, str) or run.file(MANIFEST).stat().st_uid != os.getuid():
            return False
        return writer == slurm_job() or states([writer]) == {writer: "gone"}
    except (PartinrError, OSError):
        return False  # nothing is known; that there is no run, or none that can be read, is said by whoever needs it


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


def _start(folder: str, at_once: int) -> subprocess.Popen[bytes]:
    """Go on with one run in a process of its own, with its part of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return subprocess.Popen(
        [sys.executable, "-m", "partinr.sweep.jobs", folder],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(max(1, cores // at_once))},
    )


def _catch_up(process: subprocess.Popen[bytes], interruption: Interruption) -> None:
    """Tell a process what came before it could be told."""
    if interruption.received is not None:
        process.send_signal(interruption.received)


def _work(folder: str) -> int:
    """What such a process does."""
    interruption = Interruption(job=True)
    with interruption.listening():
        return _go_on(folder, interruption)


if __name__ == "__main__":
    sys.exit(_work(sys.argv[1]))
