"""Programs in a process of their own: what is C++ inside and may end the process takes nothing else along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class IsolatedError(Exception):
    """The program did not do its work; the message says how it ended."""


def run_isolated(program: Path, *arguments: str, content: bytes, patience: float) -> bytes:
    """Run a Python file with this interpreter.

    Args:
        program: the file; it should import little, since it starts anew every time.
        arguments: of its command line.
        content: its standard input.
        patience: seconds after which it is killed.

    Returns:
        what it wrote to its standard output.

    Raises:
        IsolatedError: it died, failed or took too long.
    """
    # -P: the folder of the program is not a place to import from; it has modules with names of their own.
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
