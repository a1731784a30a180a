"""Signals that ask a run to save and stop, and what to do when the terminal is gone."""

from __future__ import annotations

import os
import signal
import stat
from contextlib import suppress

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a scheduler or a user, and a terminal that is closed."""


def heeded() -> tuple[signal.Signals, ...]:
    """Those of :data:`STOPPING` that this process reacts to: under ``nohup`` SIGHUP is ignored, and stays so."""
    return tuple(each for each in STOPPING if each != signal.SIGHUP or signal.getsignal(each) is not signal.SIG_IGN)


def leave_closed_terminal() -> None:
    """Send the output to nowhere if its terminal is closed: every write would fail, and the run could not save."""
    for descriptor in (1, 2):
        with suppress(OSError):  # there is no such output
            # A closed terminal is still a device, but answers to nothing.
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
