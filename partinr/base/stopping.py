"""Signals that ask a run to save and stop, their words, and the handling of a closed terminal."""

from __future__ import annotations

import os
import re
import signal
import stat
from contextlib import suppress

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals from Ctrl-C, from a scheduler or user, and from a closed terminal."""


_SAID: dict[int, str] = {
    signal.SIGINT: "stopped with Ctrl-C",
    signal.SIGTERM: "stopped from outside (SIGTERM)",
    signal.SIGHUP: "stopped when its terminal closed",
    signal.SIGUSR2: "stopped before the end of its job",
}
"""What people call the signals that stop a run. The last is a scheduler's warning."""


def said(number: int) -> str:
    """How a signal stopped a run, in words for ``run.json``."""
    return _SAID.get(number, f"stopped by signal {number}")


def signal_of(message: str) -> int | None:
    """The number of the signal that :func:`said` put into words; runs of older versions have the number."""
    numbered = re.search(r"stopped by signal ([0-9]+)", message)
    return int(numbered[1]) if numbered else next((number for number, words in _SAID.items() if words == message), None)


def heeded() -> tuple[signal.Signals, ...]:
    """The signals of :data:`STOPPING` that this process handles; under ``nohup``, SIGHUP stays ignored."""
    return tuple(each for each in STOPPING if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN)


def leave_closed_terminal() -> None:
    """Discard output if its terminal is closed, since every write would fail and the run could not save."""
    for descriptor in (1, 2):
        with suppress(OSError):  # the output does not exist
            # A closed terminal is still a device, but no longer a terminal.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
