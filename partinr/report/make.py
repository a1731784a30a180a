"""Makes the whole report of run directories: page and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from partinr.report.export import comparable
from partinr.report.figures import write_figures
from partinr.report.looks import Looks
from partinr.report.page import write_html
from partinr.runs.records import collect

REPORT = "report.html"
USUAL = Looks()


def make_report(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    figures: str | Path | None = None,
    title: str | None = None,
    looks: Looks = USUAL,
) -> Path:
    """Report on every run at or below ``paths``.

    Args:
        paths: run directories, sweep directories, or folders of them.
        output: the HTML file; by default ``report.html`` in the first path.
        figures: a folder for figures and the table as CSV; None for no figures.
        title: title of the page.
        looks: looks of the figures.

    Returns:
        path of the HTML file.

    Raises:
        PartinrError: a path does not exist, no run belongs in a report, a file cannot be written, or the looks name
            something that the runs lack.
    """
    records = comparable(collect(paths), paths)
    if figures is not None:
        write_figures(records, figures, looks)
    return write_html(records, Path(paths[0]) / REPORT if output is None else output, title)
