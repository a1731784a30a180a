"""``partinr import``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partinr.base.later import Later
from partinr.base.terminal import short
from partinr.base.text import for_shell
from partinr.cli.options import PATH, RUN
from partinr.cli.options import output as output_option

if TYPE_CHECKING:
    from partinr.experiment import imports
else:
    imports = Later("partinr.experiment.imports")


@click.command("import")
@click.argument("file", metavar="FILE", type=PATH)
@click.option("--name", required=True, metavar="NAME", help="Name of the method, such as GaussianImage.")
@click.option("--parameters", type=click.IntRange(1), metavar="N", help="Its number of parameters.")
@click.option("--hardware", metavar="TEXT", help="What its seconds were measured on.")
@click.option(
    "--signal", type=RUN, metavar="FILE_OR_RUN", help="What it fitted: an image, or a run on the same signal."
)
@click.option("--reconstruction", type=PATH, metavar="FILE", help="The picture of its fit; it is shown and measured.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="A column with a name of its own, such as psnr=Value; repeatable.",
)
@click.option("--replace", is_flag=True, help="Replace what was imported under this name from other content.")
@output_option(metavar="DIR", help="The run directory; by default one below outputs/imported.")
def import_file(file: Path, name: str, **options: Any) -> None:
    """Make a run directory of a CSV file with the numbers of another method.

    The file has a curve (psnr, and step or seconds; further columns stay), or one row of final numbers for each image
    (image, psnr). Usual names of other programs are known: iteration, time, test/psnr, _step and such. report, runs,
    table, compare and figures show it beside other runs.
    """
    found = imports.import_run(file, name, **options)
    click.echo(f"{'imported' if found.made else 'unchanged'}  {short(found.path)}")
    click.echo(f"report    partinr report {for_shell(found.path)}")
