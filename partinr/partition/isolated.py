"""Programs that run in their own process, because a crash of their native code must not end the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class IsolatedError(Exception):
    """The program failed; the message says how it ended."""


def run_isolated(program: Path, *arguments: str, content: bytes, patience: float) -> bytes:
    """Run a Python file with this interpreter.

    Args:
        program: the file; it should import little, since every call starts a new process.
        arguments: its command line.
        content: its standard input.
        patience: seconds after which it is killed.

    Returns:
        its standard output.

    Raises:
        IsolatedError: the program died, failed or took too long.
    """
    # -P keeps the program's folder off the import path; its modules have names of the standard library.
    command = [sys.executable, "-P", str(program), *arguments]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=patience, check=False)
    except subprocess.TimeoutExpired as error:
        raise IsolatedError(f"did not end within {patience:g} seconds") from error
    if done.returncode < 0:
        raise IsolatedError(f"died (signal {-done.returncode})")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise IsolatedError(f"failed: {said[-1] if said else 'it said nothing'}")
    return done.stdout
