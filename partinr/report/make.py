"""Makes the whole report of run directories: page and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from partinr.report.export import comparable
from partinr.report.figures import write_figures
from partinr.report.page import write_html
from partinr.runs.records import collect

REPORT = "report.html"


def make_report(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    figures: str | Path | None = None,
    title: str | None = None,
) -> Path:
    """Report on every run at or below ``paths``.

    Args:
        paths: run directories, sweep directories, or folders of them.
        output: the HTML file; by default ``report.html`` in the first path.
        figures: a folder for PNG and PDF figures and the table as CSV; None for no figures.
        title: title of the page.

    Returns:
        path of the HTML file.

    Raises:
        PartinrError: a path does not exist, no run belongs in a report, or a file cannot be written.
    """
    records = comparable(collect(paths), paths)
    page = write_html(records, Path(paths[0]) / REPORT if output is None else output, title)
    if figures is not None:
        write_figures(records, figures)
    return page
