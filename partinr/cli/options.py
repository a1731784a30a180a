"""Arguments and options that several subcommands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from partinr.cli import completion
from partinr.runs.words import run_at

PATH = click.Path(path_type=Path)


class _Run(click.Path):
    """A run directory, or a word for it, see :func:`partinr.runs.words.run_at`.

    Args:
        folders: whether it may also be a folder of runs.
    """

    def __init__(self, folders: bool = False) -> None:
        super().__init__(path_type=Path)
        self._folders = folders

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path of the run.

        Raises:
            PartinrError: no run fits the word, or several do.
        """
        path = super().convert(value, param, ctx)
        assert isinstance(path, Path)
        return run_at(path, self._folders)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Run directories, and other folders."""
        return completion.runs(incomplete)


RUN = _Run()
RUN_OR_SWEEP = _Run(folders=True)

RUNS = click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_SWEEP...", type=RUN_OR_SWEEP)
KNOWN_RUNS = click.argument("paths", nargs=-1, metavar="[RUN_OR_SWEEP]...", type=RUN_OR_SWEEP)
"""By default those below ``outputs``."""

PLACES = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=PLACE",
    help="Where a file or folder that the run reads is now, such as data.path=FILE; its content is compared.",
)


def output(**settings: Any) -> Any:
    """The option for the file or folder to write."""
    return click.option("-o", "--output", type=PATH, **settings)
