"""Signals that ask a run to save and stop, and the handling of a closed terminal."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import suppress

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals from Ctrl-C, from a scheduler or user, and from a closed terminal."""


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
