"""``partinr compare``: a few runs side by side, in the terminal or as a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

import click

from partinr.base.later import Later
from partinr.base.terminal import short, terminal
from partinr.base.text import visible
from partinr.cli.options import RUN
from partinr.cli.options import output as output_option
from partinr.runs.sharing import footnote

if TYPE_CHECKING:
    from partinr.experiment import pages
    from partinr.report import comparison as comparing
else:
    comparing = Later("partinr.report.comparison")
    pages = Later("partinr.experiment.pages")


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=RUN)
@output_option(metavar="FILE", help="Write an HTML page with curves, and with the pictures under a slider.")
@click.option("--all", "everything", is_flag=True, help="Also settings and circumstances that are the same.")
@click.option("--image", metavar="NAME", help="For -o: the image of runs that fitted several.")
def compare(runs: tuple[Path, ...], output: Path | None, everything: bool, image: str | None) -> None:
    """Compare a few runs side by side: settings that differ, results, and what they ran on.

    The page needs no server. partinr report compares many runs.
    """
    found = comparing.Comparison.of(runs)
    if output is not None:
        click.echo(f"compare  {pages.make_comparison(found, output, image=image)}")
        return
    show(found, everything)


def show(found: comparing.Comparison, everything: bool) -> None:
    """Print a comparison.

    Args:
        found: the comparison.
        everything: whether to print lines in which no run differs.
    """
    # Slow to import, and not needed by other commands.
    from rich.table import Table
    from rich.text import Text

    console = terminal()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", overflow="fold")
    for name, record in zip(found.names, found.records, strict=True):
        console.print(f"{visible(name)}  {short(record.path)}", highlight=False, soft_wrap=True)
        table.add_column(Text(visible(name)), overflow="fold")

    def add(heading: str, lines: Iterable[comparing.Line]) -> None:
        table.add_row()
        table.add_row(Text(heading, style="bold"))
        for line in lines:
            table.add_row(*(Text(visible(cell)) for cell in (line.name, *line.cells)))

    settings = found.settings if everything else found.differing
    none = "settings: none that changes the result differs" if found.further else "settings: none differs"
    add("settings" if settings else none, settings)
    if found.further and not everything:
        add("other settings", found.further)
    add("results", found.results)
    if made := [line for line in found.circumstances if everything or (line.differs and line.name != "started")]:
        add("run on", made)
    console.print(table)
    if note := footnote([(record.titled, record.shared) for record in found.records]):
        click.echo("\n".join(wrap(note, console.width)))
