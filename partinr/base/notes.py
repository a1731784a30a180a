"""What the command line writes on the standard error: one line for an error, one for a note."""

from __future__ import annotations

import sys
from pathlib import Path

from partinr.base.terminal import short

BAD_INPUT = 2
"""The exit code for bad input."""


def print_error(message: str) -> None:
    """Print an error as one line."""
    print(f"partinr: error: {' '.join(message.split())}", file=sys.stderr)


def print_note(message: str) -> None:
    """Print, as one line, something that the user should know but that stops nothing."""
    print(f"partinr: note: {' '.join(message.split())}", file=sys.stderr)


def note_unsent(run: Path, reason: str) -> None:
    """Print that W&B does not have a run, why, and how to send it later."""
    print_note(f"{reason}; the run goes on, and is sent to W&B with: partinr sync {short(run)}")
