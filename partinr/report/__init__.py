"""Many runs side by side: the HTML report, figures for a paper, and tables.

It reads run directories only, and needs neither the command that made them nor the networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from partinr.base.later import load

# Loaded when first used: a table needs neither matplotlib nor plotly.
_LAZY = {
    "REPORT": "partinr.report.make:REPORT",
    "RunRecord": "partinr.runs.records:RunRecord",
    "collect": "partinr.runs.records:collect",
    "make_report": "partinr.report.make:make_report",
    "make_table": "partinr.report.export:make_table",
    "summary_rows": "partinr.report.table:summary_rows",
    "watch_runs": "partinr.report.watching:watch_runs",
    "write_figures": "partinr.report.figures:write_figures",
    "write_html": "partinr.report.page:write_html",
}

if TYPE_CHECKING:
    from partinr.report.export import make_table
    from partinr.report.figures import write_figures
    from partinr.report.make import REPORT, make_report
    from partinr.report.page import write_html
    from partinr.report.table import summary_rows
    from partinr.report.watching import watch_runs
    from partinr.runs.records import RunRecord, collect

__all__ = [
    "REPORT",
    "RunRecord",
    "collect",
    "make_report",
    "make_table",
    "summary_rows",
    "watch_runs",
    "write_figures",
    "write_html",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return load(_LAZY[name])
    raise AttributeError(f"module 'partinr.report' has no attribute {name!r}")
