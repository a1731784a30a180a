"""Executes several runs at once on one machine, each in its own process."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from partinr.base.machine import cores

POLL_SECONDS = 0.05
"""Interval at which a crew checks its processes."""


class Crew:
    """Executes runs in processes, several at a time; each gets an equal part of the cores.

    Args:
        at_once: number of processes at a time.
        command: makes the command that executes the run in a directory.
        retries: how often a run is tried again if its process was killed.
        log: file to append a run's output to; None to share this process's output.
        **options: further arguments of ``Popen``.

    Attributes:
        stopped: the last signal that was sent; no run begins after it.
    """

    def __init__(
        self,
        at_once: int,
        command: Callable[[Path], Sequence[str]],
        retries: int = 0,
        log: Callable[[Path], Path] | None = None,
        **options: Any,
    ) -> None:
        self.stopped: int | None = None
        self._at_once = at_once
        self._command = command
        self._retries = retries
        self._log = log
        self._options = {"env": {**os.environ, "OMP_NUM_THREADS": str(max(1, cores() // at_once))}, **options}
        self._running: dict[Path, subprocess.Popen[bytes]] = {}

    def send(self, number: int) -> None:
        """Send a signal to all processes; for use in a signal handler."""
        self.stopped = number
        for process in self._running.values():
            process.send_signal(number)

    def carry_out(self, folders: Sequence[Path]) -> Iterator[tuple[Path, int]]:
        """Execute the runs in these directories; yields each run that ends, with its exit code as in a shell."""
        waiting = list(folders)
        left = dict.fromkeys(folders, self._retries)
        while self._running or (waiting and self.stopped is None):
            while waiting and self.stopped is None and len(self._running) < self._at_once:
                self._start(waiting.pop(0))
            for folder, process in list(self._running.items()):
                code = process.poll()
                if code is None:
                    continue
                del self._running[folder]
                if code < 0 and left[folder] and self.stopped is None:
                    left[folder] -= 1
                    waiting.insert(0, folder)
                else:
                    yield folder, 128 - code if code < 0 else code
            time.sleep(POLL_SECONDS)

    def _start(self, folder: Path) -> None:
        output = None if self._log is None else self._log(folder).open("ab")
        process = subprocess.Popen(
            self._command(folder), stdin=subprocess.DEVNULL, stdout=output, stderr=output, **self._options
        )
        if output is not None:
            output.close()
        self._running[folder] = process
        if self.stopped is not None:  # a signal arrived while the process was being started
            process.send_signal(self.stopped)
