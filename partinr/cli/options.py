"""Arguments and options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)

RUNS = click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP_DIR...", type=PATH)


def output(**settings: Any) -> Any:
    """The option for the file or folder to write."""
    return click.option("-o", "--output", type=PATH, **settings)
