"""The subcommands for papers: report with its figures, and table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.cli.options import PATH, RUNS
from partinr.cli.options import output as output_option

if TYPE_CHECKING:
    from partinr import report as reports
else:
    reports = Later("partinr.report")

_LABELS = click.option(
    "--labels",
    metavar="GROUP=NAME[,...]",
    help="Names of groups: 'none=one network,grid #9=ours'. A group is called as in the report, or as in the table.",
)
_ORDER = click.option("--order", metavar="GROUP[,...]", help="Groups that come first, in this order.")


@click.command()
@RUNS
@output_option(help="The file to write; report.html in the first directory by default.")
@click.option("--figures", type=PATH, metavar="DIR", help="Also write figures for a paper, and the table as CSV.")
@click.option("--title", help="Heading of the page.")
@click.option(
    "--watch",
    type=click.FloatRange(1),
    is_flag=False,
    flag_value=10.0,
    metavar="[SECONDS]",
    help="Rewrite the page every 10 (or given) seconds until all runs have ended; Ctrl-C stops it.",
)
@click.option("--metric", metavar="KEY", help="Figures: the column of the curves, such as ssim, loss, lr or snr.")
@_LABELS
@_ORDER
@click.option(
    "--width",
    metavar="column|page|CM",
    help="Figures: their width; by default a column, and the page for more than two groups of pictures.",
)
@click.option(
    "--inset", metavar="Y0:Y1,X0:X1", help="Figures: a rectangle [pixels] that all pictures show enlarged in a corner."
)
@click.option(
    "--error-range",
    metavar="[LOW:]HIGH",
    help="Figures: absolute errors at the ends of linear colours; by default logarithmic, 0.003:0.3.",
)
@click.option("--format", "formats", metavar="FORMAT[,...]", help="Figures: pdf, png, svg, pgf; by default png,pdf.")
@click.option("--style", metavar="STYLE[,...]", help="Figures: styles of matplotlib, by name or file.")
def report(
    paths: tuple[Path, ...],
    output: Path | None,
    figures: Path | None,
    title: str | None,
    watch: float | None,
    **options: Any,
) -> None:
    """Compare runs: one HTML file with curves, pictures and a table."""
    given = {name: value for name, value in options.items() if value is not None}
    if given and figures is None:
        option = next(iter(given)).replace("formats", "format").replace("_", "-")
        raise PartinrError(f"--{option} is about figures; give --figures DIR, too")
    looks = reports.Looks.read(**given)
    if watch is None:
        written = reports.make_report(paths, output, figures=figures, title=title, looks=looks)
    else:
        written = paths[0] / reports.REPORT if output is None else output
        reports.watch_runs(paths, written, watch, click.echo, title)
        if figures is not None:
            reports.write_figures(reports.collect(paths), figures, looks)
    click.echo(f"report   {written}")
    if figures is not None:
        click.echo(f"figures  {figures}")


@click.command()
@RUNS
@output_option(metavar="FILE", help="The file to write: .md, .tex or .csv (every column and digit).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "md", "tex", "csv"]),
    help="The form, also without a file; by default that of the file, and text in the terminal.",
)
@click.option(
    "--columns", default="", metavar="KEY[,...]", help="The columns in this order, by the headings of the CSV file."
)
@click.option(
    "--sort",
    default="",
    metavar="[-]KEY",
    help="Sort the groups of each image by a column, or by group, seeds or state; with -, downwards.",
)
@click.option(
    "--against",
    default="",
    metavar="GROUP",
    help="Compare groups with this one, pair by pair over all signals: intervals, tests, and steps to its PSNR; over "
    "several sizes also the parameters and bits that are saved (BD-rate).",
)
@_LABELS
@_ORDER
@click.option("--plain", is_flag=True, help="LaTeX without siunitx: right-aligned numbers.")
@click.option("--no-seconds", is_flag=True, help="Leave out clock measurements, for runs that shared a machine.")
def table(
    paths: tuple[Path, ...],
    output: Path | None,
    form: Any,
    labels: str | None,
    order: str | None,
    no_seconds: bool,
    **options: Any,
) -> None:
    """Print the report's table, or write it as Markdown, LaTeX or CSV.

    LaTeX needs the packages booktabs and siunitx. Bold numbers are the best ones, and those that a test over seeds or
    images does not tell from them; a line below the table names the test.
    """
    layout = reports.Layout(**options, wording=reports.Wording(labels or "", order or ""))
    text = reports.make_table(paths, output, not no_seconds, form or ("text" if output is None else None), layout)
    click.echo(text.rstrip("\n") if output is None else f"table    {output}")
