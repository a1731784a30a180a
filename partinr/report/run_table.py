"""Runs in a notebook: tables for pandas, and curves in matplotlib."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.numbers import ABSENT, write
from partinr.base.section import leaves
from partinr.pictures.notebook import check_columns, new_axes
from partinr.report.groups import studies_of
from partinr.report.measures import measures_of
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CURVE_COLUMNS
from partinr.runs.listing import Column, Listed, columns
from partinr.runs.records import Axis, RunRecord
from partinr.runs.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from partinr.report import figures
    from partinr.report.curves import Metric
else:
    figures = Later("partinr.report.figures")

_MOST_ROWS = 20
"""Limit of runs in a notebook's table."""


class RunTable:
    """Several runs as tables and curves.

    Args:
        records: the runs, read into memory.
    """

    def __init__(self, records: Sequence[RunRecord]) -> None:
        self.records = tuple(records)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} runs, differing in {', '.join(self._settings) or 'nothing'})"

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row per run: the settings in which the runs differ, and their results.

        A setting is called by the last part of its key, such as ``hidden_features``; by the whole key, such as
        ``optimizer.lr``, where another column is called like the part.

        Raises:
            PartinrError: pandas is not installed.
        """
        return pandas().DataFrame(
            [{**row, **_results(of), "path": str(of.path)} for row, of in zip(self._rows, self.records, strict=True)]
        )

    def curves(self) -> Any:
        """A pandas DataFrame with one row per run and evaluation: the settings, and the columns of ``curve.csv``.

        Raises:
            PartinrError: pandas is not installed.
        """
        return pandas().DataFrame(
            [
                {**row, **dict(zip(CURVE_COLUMNS, values, strict=True))}
                for row, of in zip(self._rows, self.records, strict=True)
                for values in zip(*(of.curve[name] for name in CURVE_COLUMNS), strict=True)
            ]
        )

    def plot(self, metric: Metric = "", axis: Axis = "step", ax: Axes | None = None) -> list[Axes]:
        """Draw the curves: for each setting the mean over seeds, and a band of one standard deviation.

        Args:
            metric: a column of the curves, such as ``ssim``, ``loss``, ``lr`` or ``snr``; by default the leading one.
            axis: ``step``, ``seconds``, ``cpu_seconds`` or ``macs``.
            ax: axes of matplotlib to draw on, for runs of one image; None for a new figure.

        Returns:
            the axes, one per image.

        Raises:
            PartinrError: there is no such column or no curve yet, or ``ax`` is given for several images.
        """
        studies = studies_of(self.records)
        check_columns(metric, axis, ["", *(each.key for study in studies for each in measures_of(study))])
        found = [
            (study, image)
            for study in studies
            for image in study.images
            if any(group.counted for group in study.on(image))
        ]
        if not found:
            raise PartinrError("no run has a curve yet; partinr runs says how they stand")
        if ax is not None and len(found) > 1:
            raise PartinrError(f"the runs are of {len(found)} images, which need axes each; leave ax out")
        places = new_axes(5, 3.4, len(found)) if ax is None else [ax]
        for place, (study, image) in zip(places, found, strict=True):
            figures.draw_curves(place, study, image, metric, axis)
            if len(found) > 1:
                place.set_title(image, parse_math=False)
        return places

    def _repr_html_(self) -> str:
        leading = Subject.common(record.subject for record in self.records).leading
        quality = [(leading.key, leading.title, leading.form)]
        quality += [("ssim", "SSIM", "fixed:3")] * any(record.is_picture for record in self.records)
        heads = ["run", *self._settings, "state", *(heading for _, heading, _ in quality), "steps", "training [s]"]
        lines = []
        for number, record in enumerate(self.records[:_MOST_ROWS]):
            numbers = [(record.final(key), form) for key, _, form in quality]
            numbers += [(record.last("step"), "fixed:0"), (record.last("seconds"), "significant")]
            said = [ABSENT if each is None else write(each, form) for each, form in numbers]
            words = [column.of[number] or ABSENT for column in self._settings.values()]
            lines.append([record.name, *words, record.status, *said])
        body = "".join(_html_row("td", line) for line in lines)
        left = len(self) - len(lines)
        more = f"<div>and {left} more</div>" if left else ""
        return f"<table><thead>{_html_row('th', heads)}</thead><tbody>{body}</tbody></table>{more}"

    @cached_property
    def _listed(self) -> list[Listed]:
        return [Listed.of(RunDirectory(record.path), time.time()) for record in self.records]

    @cached_property
    def _settings(self) -> dict[str, Column]:
        """The settings in which the runs differ, by the names of their columns."""
        found = columns(self._listed)
        ends = [column.key.rpartition(".")[2] for column in found]
        taken = {"run", "path", *CURVE_COLUMNS, *(name for record in self.records for name in _results(record))}
        return {
            column.key if end in taken or ends.count(end) > 1 else end: column
            for column, end in zip(found, ends, strict=True)
        }

    @property
    def _rows(self) -> list[dict[str, Any]]:
        """Name and settings of each run."""
        return [
            {"run": record.name, **{name: each.values.get(column.key) for name, column in self._settings.items()}}
            for record, each in zip(self.records, self._listed, strict=True)
        ]


def _html_row(element: str, words: Sequence[str]) -> str:
    style = 'style="text-align:left;padding:2px 12px 2px 0"'
    return f"<tr>{''.join(f'<{element} {style}>{escape(word)}</{element}>' for word in words)}</tr>"


def _results(record: RunRecord) -> dict[str, Any]:
    """State and results of a run, by the names of their columns."""
    metrics = record.manifest.get("metrics")
    further = leaves(metrics) if isinstance(metrics, Mapping) else {}
    numbers = [name for name, value in further.items() if isinstance(value, (int, float))]
    return {
        "state": record.status,
        **{name: record.number(f"metrics.{name}") for name in dict.fromkeys(("psnr", "ssim", *numbers))},
        "steps": record.at("steps"),
        "seconds": record.number("seconds.training"),
        "cpu_seconds": record.number("cpu_seconds.training"),
        "parameters": record.at("parameters"),
        "regions": record.regions,
    }


def pandas() -> Any:
    """The module pandas.

    Raises:
        PartinrError: it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise PartinrError("tables in Python need pandas; pip install pandas") from error
    return pandas
