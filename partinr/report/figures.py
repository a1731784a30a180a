"""Figures for a two-column paper, and the table as CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.numbers import write
from partinr.base.section import Chart
from partinr.base.text import utf8
from partinr.pictures.draw import ERROR_COLORMAP, ERROR_RANGE
from partinr.pictures.palette import Style
from partinr.pictures.paper import COLUMN, PAGE, SETTINGS, drawn
from partinr.report.curves import ListCurve, MeanCurve
from partinr.report.groups import Group, Study, studies_of
from partinr.report.table import Row, lone_of, rows, to_csv
from partinr.runs.layout import ERROR, IMAGE, PARTITION, RECONSTRUCTION
from partinr.runs.records import Axis, RunRecord
from partinr.runs.sharing import SIGN

PICTURE_SIDE = 1024
"""Longer side of a picture in a figure [pixels]: at least 400 dpi in print, with a small PDF."""

GROUPS_A_STRIP = 6
"""Groups per figure of pictures; more groups need further figures."""

_AXES: Mapping[Axis, tuple[str, str]] = {
    "step": ("steps", "optimiser steps"),
    "seconds": ("seconds", "seconds of training"),
    "cpu_seconds": ("cpu-seconds", "CPU seconds of training"),
    "macs": ("macs", "multiply-accumulates"),
}
"""File name part and label of each axis."""

_DASHES = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1, 1.5)), "dashdot": (0, (5, 1.5, 1, 1.5))}


def write_figures(records: Sequence[RunRecord], folder: str | Path) -> list[Path]:
    """Write figures of ``records``, each as PNG (300 dpi) and as PDF (vectors).

    ``curve-IMAGE-steps``, ``-seconds``, ``-cpu-seconds``, ``-macs``: PSNR with mean and one standard deviation, one
    column wide.
    ``pictures-IMAGE``: image, partitions, reconstructions and errors of the median seed of each group.
    ``table.csv``: every number of the report's table.
    Files of a further section begin with its key: learning to learn has ``learning-NAME-outer-steps``,
    ``-outer-seconds``, ``-outer-cpu-seconds``, ``-inner-steps``, and ``learning.csv``.

    Args:
        records: runs, as of :func:`~partinr.runs.records.collect`.
        folder: made if needed; files of the same names are replaced.

    Returns:
        the written paths.

    Raises:
        PartinrError: the folder cannot be written.
    """
    folder = Path(folder)
    written: list[Path] = []
    fits, *further = studies_of(records)
    further = [study for study in further if study.groups]
    try:
        with matplotlib.rc_context(SETTINGS):
            if fits.groups or not further:
                written += _write(fits, folder)
            for study in further:
                written += _write(study, folder)
    except OSError as error:
        raise PartinrError(f"cannot write figures to {folder}: {error.strerror}; choose another folder") from error
    return written


def _write(study: Study, folder: Path) -> list[Path]:
    written: list[Path] = []
    for name, figure in _figures(study):
        for kind in ("png", "pdf"):
            written.append(folder / f"{name}.{kind}")
            write_atomically(written[-1], drawn(figure, kind))
    table = folder / ("table.csv" if study.section is None else f"{study.section.key}.csv")
    write_atomically(table, utf8(to_csv(study)))
    return [*written, table]


def _figures(study: Study) -> Iterator[tuple[str, Figure]]:
    """The figures of a study and the names of their files."""
    section, table, style, names = study.section, rows(study), study.styles, _file_names(study.images)
    axes = _AXES
    if section is not None:
        kind = section.steps.removesuffix("steps").strip()
        timed: tuple[Axis, ...] = ("seconds", "cpu_seconds")
        axes = {"step": (f"{kind}-steps", section.steps)}
        axes |= {axis: (f"{kind}-{_AXES[axis][0]}", _AXES[axis][1]) for axis in timed}
    for image in study.images:
        groups, stem = study.on(image), f"{section.key if section else 'curve'}-{names[image]}"
        curves = [MeanCurve.of(group.counted) for group in groups]
        for axis, (suffix, label) in axes.items():
            if any((curve.on(axis) > 0).any() for curve in curves):
                yield f"{stem}-{suffix}", _curve(table, image, style, axis, label)
        for chart in section.charts if section else ():
            if any(ListCurve.of(group.counted, chart.values).psnr.size for group in groups):
                yield f"{stem}-{chart.axis.replace(' ', '-')}", _list_curve(groups, style, chart)
        strips = [] if section else list(_strips(groups))
        for number, strip in enumerate(strips, 1):
            yield f"pictures-{names[image]}" + (f"-{number}" if len(strips) > 1 else ""), strip


def _file_names(images: Sequence[str]) -> dict[str, str]:
    """Distinct names of images for file names."""
    names: dict[str, str] = {}
    for image in images:
        stem = re.sub(r"[^\w.-]+", "-", image).strip("-.") or "image"
        name, number = stem, 2
        while name in names.values():
            name, number = f"{stem}-{number}", number + 1
        names[image] = name
    return names


# -- curves ---------------------------------------------------------------------------------------------------------


def _curve(table: Sequence[Row], image: str, style: Mapping[str, Style], axis: Axis, label: str) -> Figure:
    figure, axes = _empty()
    for group in (row.group for row in table if row.group.image == image):
        mean = MeanCurve.of(group.counted)
        sign = SIGN if axis == "seconds" and any(record.shared for record in group.counted) else ""
        _line(axes, group, style, mean.on(axis), mean.psnr, mean.std, sign)
    lone = lone_of(table, image)
    if lone:
        axes.axhline(lone.level, color="#5c6570", lw=0.6, ls=(0, (1, 2)), zorder=1)
    axes.set_xlabel(label)
    axes.set_xlim(left=0)
    if axis == "macs":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    _legend(figure, axes)
    return figure


def _list_curve(groups: Sequence[Group], style: Mapping[str, Style], chart: Chart) -> Figure:
    """PSNR at 0, 1, 2, … for a chart, with a ring at the chart's mark."""
    figure, axes = _empty()
    for group in groups:
        curve = ListCurve.of(group.counted, chart.values)
        _line(axes, group, style, np.arange(curve.psnr.size), curve.psnr, curve.std)
        mark = group.records[0].at(chart.mark)
        if isinstance(mark, int) and mark < curve.psnr.size:
            colour = style[group.label].light
            axes.plot([mark], [curve.psnr[mark]], "o", ms=5, mfc="white", mec=colour, mew=1.2, zorder=3)
    axes.set_xlabel(chart.axis)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, axes)
    return figure


def _empty() -> tuple[Figure, Axes]:
    """An empty figure for PSNR, one column wide."""
    figure = Figure(figsize=(COLUMN, 2.3), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel("PSNR [dB]")
    return figure, axes


def _line(
    axes: Axes,
    group: Group,
    style: Mapping[str, Style],
    x: NDArray[Any],
    psnr: NDArray[np.float64],
    std: NDArray[np.float64] | None,
    sign: str = "",
) -> None:
    if not np.isfinite(x).any():  # older runs do not know their CPU seconds
        return
    look = style[group.label]
    few = "o" if x.size <= 24 else None
    name = group.label + sign + (f" ({group.state})" if group.provisional else "")
    axes.plot(x, psnr, color=look.light, ls=_DASHES[look.dash], lw=1.2, marker=few, ms=2.2, label=name)
    if std is not None:
        axes.fill_between(x, psnr - std, psnr + std, color=look.light, alpha=0.18, lw=0)


def _legend(figure: Figure, axes: Axes) -> None:
    """Place the legend inside, away from the curves; a long one goes above the axes, over both columns."""
    handles, names = axes.get_legend_handles_labels()
    longest = max(map(len, names))
    if len(names) <= 5 and longest <= 24:
        axes.legend(loc="lower right", frameon=False, handlelength=1.6, labelspacing=0.25, borderaxespad=0.3)
        return
    figure.set_figwidth(PAGE)
    # About 17 letters per inch, and a line before each name.
    columns = min(len(names), max(1, int(17 * PAGE) // (longest + 6)))
    figure.set_figheight(2.3 + 0.135 * math.ceil(len(names) / columns))
    figure.legend(
        handles, names, loc="outside upper left", ncols=columns, frameon=False, labelspacing=0.25, handlelength=2.2
    )


# -- pictures -------------------------------------------------------------------------------------------------------

_KINDS = {IMAGE: "image", PARTITION: "partition", RECONSTRUCTION: "reconstruction", ERROR: "absolute error"}

_ROWS = (RECONSTRUCTION, PARTITION, ERROR)
"""Rows from top to bottom; the reconstruction is next to the image."""


def _strips(groups: Sequence[Group]) -> Iterator[Figure]:
    shown = [
        (group, record)
        for group in groups
        if (record := group.median()) and any((record.path / name).is_file() for name in _ROWS)
    ]
    if len(shown) == 1:
        yield _single(shown[0][1])
        return
    for start in range(0, len(shown), GROUPS_A_STRIP):
        yield _strip(shown[start : start + GROUPS_A_STRIP])


def _single(record: RunRecord) -> Figure:
    """The four pictures of one run in a row, one column of a paper wide."""
    aspect = 1.0
    figure = Figure(figsize=(COLUMN, COLUMN), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[union-attr, call-arg]
    all_axes = figure.subplots(1, 4)
    for axes, (name, kind) in zip(all_axes, _KINDS.items(), strict=True):
        with _picture(record.path / name) as picture:
            aspect = picture.height / picture.width if picture else aspect
            _bare(axes, picture).set_title(kind)
    all_axes[2].set_xlabel(_quality(record), labelpad=2)
    _scale(figure, all_axes[3].inset_axes((0.1, -0.12 / aspect, 0.8, 0.06 / aspect)))
    figure.set_figheight(COLUMN / 4 * aspect + 0.45)
    return figure


def _strip(shown: Sequence[tuple[Group, RunRecord]]) -> Figure:
    columns = len(shown) + 1
    with _picture(shown[0][1].path / IMAGE) as image:
        aspect = image.height / image.width if image else 1.0
        width = COLUMN if columns <= 3 else PAGE
        side = width / columns
        figure = Figure(figsize=(width, 3 * side * aspect + 0.45), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[union-attr, call-arg]
        grid = figure.add_gridspec(3, columns)
        first = _bare(figure.add_subplot(grid[0, 0]), image)
        first.set_title("image")
    for column, (group, record) in enumerate(shown, 1):
        for row, name in enumerate(_ROWS):
            with _picture(record.path / name) as picture:
                axes = _bare(figure.add_subplot(grid[row, column]), picture)
            if row == 0:
                axes.set_title(_wrapped(group.label, 60 // columns))
                axes.set_xlabel(_quality(record), labelpad=2)
            if column == 1:
                axes.set_ylabel(_KINDS[name], labelpad=2)
    scale = figure.add_subplot(grid[2, 0])
    scale.set_axis_off()
    _scale(figure, scale.inset_axes((0.05, 0.3, 0.9, 0.1)), label="absolute error")
    return figure


def _scale(figure: Figure, axes: Axes, label: str = "") -> None:
    """Draw the colours of the error pictures into ``axes``."""
    low, high = ERROR_RANGE
    colours = ScalarMappable(Normalize(low, high), ERROR_COLORMAP)
    bar = figure.colorbar(
        colours, cax=axes, orientation="horizontal", extend="max", ticks=[low, high], format="%g", label=label
    )
    bar.outline.set_linewidth(0)


def _quality(record: RunRecord) -> str:
    psnr = record.final("psnr")
    return "" if psnr is None else f"{write(psnr, 'fixed:2')} dB"


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image | None]:
    """An opened picture file; None if it is missing or damaged."""
    try:
        picture = Image.open(path)
        picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        yield None
        return
    with picture:
        yield picture


def _bare(axes: Axes, picture: Image.Image | None) -> Axes:
    """Show a picture without axes."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if picture is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axes.transAxes, color="#5c6570")
        axes.set_aspect("equal")
    else:
        axes.imshow(picture.convert("RGB"))
    return axes


def _wrapped(label: str, width: int) -> str:
    """``label`` in lines of at most ``width`` characters, broken between its parts."""
    lines: list[str] = []
    for part in label.split(" · "):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return "\n".join(lines)
