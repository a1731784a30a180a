"""Comparisons of many runs: the HTML report, figures for a paper, and tables.

It reads run directories only, and needs neither the command that made them nor the networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from partinr.base import later

if TYPE_CHECKING:
    from partinr.report.export import make_table
    from partinr.report.figures import write_figures
    from partinr.report.looks import Looks
    from partinr.report.make import REPORT, make_report
    from partinr.report.page import write_html
    from partinr.report.paper import Layout, Wording
    from partinr.report.table import summary_rows
    from partinr.report.watching import watch_runs
    from partinr.runs.records import RunRecord, collect

__all__ = [
    "REPORT",
    "Layout",
    "Looks",
    "RunRecord",
    "Wording",
    "collect",
    "make_report",
    "make_table",
    "summary_rows",
    "watch_runs",
    "write_figures",
    "write_html",
]

# Lazy, since a table needs neither matplotlib nor plotly.
__getattr__, __dir__ = later.exports(
    __name__,
    {
        "REPORT": "partinr.report.make",
        "Layout": "partinr.report.paper",
        "Looks": "partinr.report.looks",
        "RunRecord": "partinr.runs.records",
        "Wording": "partinr.report.paper",
        "collect": "partinr.runs.records",
        "make_report": "partinr.report.make",
        "make_table": "partinr.report.export",
        "summary_rows": "partinr.report.table",
        "watch_runs": "partinr.report.watching",
        "write_figures": "partinr.report.figures",
        "write_html": "partinr.report.page",
    },
)
