"""Prints errors and notes to standard error, one line each."""

from __future__ import annotations

import sys
from pathlib import Path

from partinr.base.terminal import short
from partinr.base.text import one_line

BAD_INPUT = 2
"""The exit code for bad input."""


def print_error(message: str) -> None:
    """Print an error as one line."""
    print(f"partinr: error: {one_line(message)}", file=sys.stderr)


def print_note(message: str) -> None:
    """Print a note as one line: information that does not stop the command."""
    print(f"partinr: note: {one_line(message)}", file=sys.stderr)


def note_unsent(run: Path, reason: str) -> None:
    """Print that W&B does not have a run, why, and how to send it later."""
    print_note(f"{reason}; to send the run later: partinr sync {short(run)}")
