"""How partinr writes on the terminal. Apart from what it writes, which may need torch."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console


def short(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)


def terminal() -> Console:
    """Where tables are printed, of at most 100 columns where nothing says how wide it is."""
    # A file or a pipe has no width; rich would take 80 columns for it and break the lines of the table.
    # No markup: a file may be called photo[red].png.
    console = Console(markup=False)
    return console if console.is_terminal else Console(width=100, markup=False)
