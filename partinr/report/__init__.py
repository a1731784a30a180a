"""Many runs side by side: the HTML report, figures for a paper, and tables.

It reads run directories and nothing else, so it needs neither the command that made them nor the networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.report.export import make_table
from partinr.report.figures import write_figures
from partinr.report.page import write_html
from partinr.report.table import summary_rows
from partinr.report.watching import watch_runs
from partinr.runs.records import RunRecord, collect

__all__ = [
    "RunRecord",
    "collect",
    "make_report",
    "make_table",
    "summary_rows",
    "watch_runs",
    "write_figures",
    "write_html",
]

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
        figures: a folder for PNG and PDF figures and the table as CSV; none are made without it.
        title: of the page.

    Returns:
        Path of the HTML file.

    Raises:
        PartinrError: a path does not exist, there is no run but studies of steps, or a place cannot be written.
    """
    # A study of steps has no curve that could be compared with others.
    records = [record for record in collect(paths) if record.learns != "steps"]
    if not records:
        raise PartinrError(f"there are only studies of steps; see: partinr hypothesis {' '.join(map(str, paths))}")
    page = write_html(records, Path(paths[0]) / REPORT if output is None else output, title)
    if figures is not None:
        write_figures(records, figures)
    return page
