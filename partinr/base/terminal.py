"""The terminal: its width, and paths as a user would write them."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from partinr.base.text import for_shell


def short(path: Path) -> str:
    """The path relative to the working directory if that is shorter, as one word for a shell."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return for_shell(path)
    return for_shell(min(str(path), relative, key=len))


def terminal() -> Console:
    """A console for tables, 100 columns wide if the output is not a terminal."""
    # A file or a pipe has no width, and rich would break tables at 80 columns.
    # No markup: a file may be called photo[red].png.
    console = Console(markup=False)
    return console if console.is_terminal else Console(width=100, markup=False)
