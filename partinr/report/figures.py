"""Figures for a two-column paper, and the table as CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib import style as styling
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.section import Chart
from partinr.base.text import utf8
from partinr.pictures.curves import TITLES, dress
from partinr.pictures.palette import SLOTS, Style
from partinr.pictures.paper import COLUMN, PAGE, SETTINGS, drawn
from partinr.report.curves import ListCurve, MeanCurve, Metric
from partinr.report.groups import Group, Study, studies_of
from partinr.report.latex import escaped
from partinr.report.looks import Looks, latex_program
from partinr.report.measures import Measure, measures_of
from partinr.report.strips import check_inset, strips_of
from partinr.report.table import Row, lone_of, rows, to_csv
from partinr.runs.records import Axis, RunRecord
from partinr.runs.sharing import SIGN

HEIGHT = 2.3
"""Height of a curve one column wide [in]; it grows with the root of the width."""

_AXES: Mapping[Axis, str] = {"step": "steps", "seconds": "seconds", "cpu_seconds": "cpu-seconds", "macs": "macs"}
"""Part of a file's name for each axis."""

_DASHES = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1, 1.5)), "dashdot": (0, (5, 1.5, 1, 1.5))}

USUAL = Looks()


def write_figures(records: Sequence[RunRecord], folder: str | Path, looks: Looks = USUAL) -> list[Path]:
    """Write figures of ``records``, by default each as PNG (300 dpi) and as PDF (vectors).

    ``curve-IMAGE-steps``, ``-seconds``, ``-cpu-seconds``, ``-macs``: PSNR with mean and one standard deviation, one
    column wide. Another metric is part of the name: ``curve-IMAGE-ssim-steps``.
    ``pictures-IMAGE``: image, partitions, reconstructions and errors of the median seed of each group. LaTeX cannot
    read pixels in PGF, so these are PDF instead.
    ``table.csv``: every number of the report's table.
    Files of a further section begin with its key: learning to learn has ``learning-NAME-outer-steps``,
    ``-outer-seconds``, ``-outer-cpu-seconds``, ``-inner-steps``, and ``learning.csv``.

    Args:
        records: runs, as of :func:`~partinr.runs.records.collect`.
        folder: made if needed; files of the same names are replaced.
        looks: metric, words, widths, formats and style.

    Returns:
        the written paths.

    Raises:
        PartinrError: the folder cannot be written, or a group, style or inset does not exist.
    """
    folder = Path(folder)
    written: list[Path] = []
    fits, *further = looks.wording.of(studies_of(records))
    further = [study for study in further if study.groups]
    known = sorted({each.key for study in (fits, *further) for each in measures_of(study)})
    if looks.metric and looks.metric not in known:
        raise PartinrError(f"--metric={looks.metric}: no run has it in its curve; choose from {', '.join(known)}")
    try:
        with _settings(looks):
            if looks.inset is not None:
                check_inset(fits, looks)
            if fits.groups or not further:
                written += _write(fits, folder, looks)
            for study in further:
                written += _write(study, folder, looks)
    except OSError as error:
        raise PartinrError(f"cannot write figures to {folder}: {error.strerror}; choose another folder") from error
    return written


@contextmanager
def _settings(looks: Looks) -> Iterator[None]:
    """The settings of matplotlib, those of the styles last. A style with colours also replaces those of groups.

    Raises:
        PartinrError: matplotlib has no such style.
    """
    colours: dict[Any, Any] = {"axes.prop_cycle": cycler(color=[light for light, _ in SLOTS])}
    pgf: dict[Any, Any] = {"pgf.texsystem": latex_program() or "xelatex", "pgf.rcfonts": False}
    with matplotlib.rc_context({**SETTINGS, **colours, **pgf}):
        for name in looks.styles:
            try:
                styling.use(name)
            except OSError as error:
                known = ", ".join(each for each in styling.available if not each.startswith("_"))
                raise PartinrError(f"--style: matplotlib has no style or file {name!r}; choose from {known}") from error
        yield


def _write(study: Study, folder: Path, looks: Looks) -> list[Path]:
    written: list[Path] = []
    for name, figure, pixels in _figures(study, looks):
        kinds = ["pdf" if pixels and kind == "pgf" else kind for kind in looks.formats]
        for kind in dict.fromkeys(kinds):
            written.append(folder / f"{name}.{kind}")
            with _escaped(figure) if kind == "pgf" else nullcontext():
                write_atomically(written[-1], drawn(figure, kind))
    table = folder / ("table.csv" if study.section is None else f"{study.section.key}.csv")
    write_atomically(table, utf8(to_csv(study)))
    return [*written, table]


@contextmanager
def _escaped(figure: Figure) -> Iterator[None]:
    """The figure with its words as LaTeX must read them."""
    words = {text: text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)}
    for text, said in words.items():
        text.set_text(escaped(said))
    yield
    for text, said in words.items():
        text.set_text(said)


def _figures(study: Study, looks: Looks) -> Iterator[tuple[str, Figure, bool]]:
    """The figures of a study, the names of their files, and whether they have pixels."""
    section, table, names, shown = study.section, rows(study), _file_names(study.images), _measure(study, looks.metric)
    axes = _AXES
    if section is not None:
        kind = section.steps.removesuffix("steps").strip()
        timed: tuple[Axis, ...] = ("step", "seconds", "cpu_seconds")
        axes = {axis: f"{kind}-{_AXES[axis]}" for axis in timed}
    for image in study.images:
        groups, stem = study.on(image), f"{section.key if section else 'curve'}-{names[image]}"
        metric = "" if shown.leads else f"-{shown.key}"
        curves = [MeanCurve.of(group.counted, shown.key) for group in groups]
        for axis, suffix in axes.items():
            if any((curve.on(axis) > 0).any() for curve in curves):
                plot = _Plot(study.styles, looks)
                yield f"{stem}{metric}-{suffix}", plot.curve(study, table, image, axis), False
        for chart in section.charts if section else ():
            if any(ListCurve.of(group.counted, chart.values).psnr.size for group in groups):
                yield f"{stem}-{chart.axis.replace(' ', '-')}", _Plot(study.styles, looks).chart(groups, chart), False
        strips = [] if section else list(strips_of(groups, looks))
        for number, strip in enumerate(strips, 1):
            yield f"pictures-{names[image]}" + (f"-{number}" if len(strips) > 1 else ""), strip, True


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


def draw_curves(axes: Axes, study: Study, image: str, metric: Metric, axis: Axis) -> None:
    """Draw mean curves of the groups of an image, each with a band of one standard deviation.

    Args:
        axes: where to draw; gets labels and a legend, beside the curves if it is long.
        study: the study.
        image: one of its images.
        metric: the ordinate.
        axis: the abscissa.
    """
    _Plot(study.styles, Looks(metric=metric), axes).lines(study, rows(study), image, axis)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(axes.lines) > 6 else {}
    with matplotlib.rc_context({"text.parse_math": False}):
        axes.legend(frameon=False, fontsize="small", **beside)


def _measure(study: Study, metric: Metric) -> Measure:
    """What a study shows: a metric, or the leading one where no run has it."""
    found = measures_of(study)
    return next((each for each in found if each.key == metric), found[0])


class _Plot:
    """A figure of curves.

    Args:
        style: style of each group, by label.
        looks: looks of the figure.
        axes: where to draw; None for a figure of its own.
    """

    def __init__(self, style: Mapping[str, Style], looks: Looks, axes: Axes | None = None) -> None:
        self.style, self.looks = style, looks
        self._own = axes is None
        if axes is None:
            width = looks.width or COLUMN
            self.figure = Figure(figsize=(width, HEIGHT * math.sqrt(width / COLUMN)), layout="constrained")
        self.axes: Axes = self.figure.add_subplot() if axes is None else axes

    def curve(self, study: Study, table: Sequence[Row], image: str, axis: Axis) -> Figure:
        """The metric of the groups of an image against an axis."""
        measure = self.lines(study, table, image, axis)
        return self._with_legend("upper right" if measure.log else "lower right")

    def lines(self, study: Study, table: Sequence[Row], image: str, axis: Axis) -> Measure:
        """Draw the same without a legend."""
        measure = _measure(study, self.looks.metric)
        for group in (row.group for row in table if row.group.image == image):
            mean = MeanCurve.of(group.counted, measure.key)
            sign = SIGN if axis == "seconds" and any(record.shared for record in group.counted) else ""
            self._line(group, mean.on(axis), mean.mean, mean.std, sign)
        lone = lone_of(table, image)
        if lone and measure.leads:
            self.axes.axhline(lone.level, color="#5c6570", lw=0.6, ls=(0, (1, 2)), zorder=1)
        steps = study.section.steps if study.section and axis == "step" else ""
        dress(self.axes, measure.key, axis, steps, measure.title)
        return measure

    def chart(self, groups: Sequence[Group], chart: Chart) -> Figure:
        """PSNR at 0, 1, 2, … for a chart, with a ring at the chart's mark."""
        for group in groups:
            curve = ListCurve.of(group.counted, chart.values)
            self._line(group, np.arange(curve.psnr.size), curve.psnr, curve.std)
            mark = group.records[0].at(chart.mark)
            if isinstance(mark, int) and mark < curve.psnr.size:
                colour = self._colour(group)
                self.axes.plot([mark], [curve.psnr[mark]], "o", ms=5, mfc="white", mec=colour, mew=1.2, zorder=3)
        self.axes.set(xlabel=chart.axis, ylabel=TITLES["psnr"])
        self.axes.set_xlim(left=0)
        self.axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return self._with_legend("lower right")

    def _line(
        self,
        group: Group,
        x: NDArray[Any],
        mean: NDArray[np.float64],
        std: NDArray[np.float64] | None,
        sign: str = "",
    ) -> None:
        if not np.isfinite(x).any():  # older runs do not know their CPU seconds
            return
        look = self.style[group.label]
        colour = self._colour(group)
        few = "o" if x.size <= 24 else None
        name = group.title + sign + (f" ({group.state})" if group.provisional else "")
        self.axes.plot(x, mean, color=colour, ls=_DASHES[look.dash], lw=1.2, marker=few, ms=2.2, label=name)
        if std is not None:
            self.axes.fill_between(x, mean - std, mean + std, color=colour, alpha=0.18, lw=0)

    def _colour(self, group: Group) -> str:
        # In a figure of its own, a style of matplotlib has the last word on colours.
        look = self.style[group.label]
        return f"C{look.slot}" if self._own else look.light

    def _with_legend(self, place: Literal["upper right", "lower right"]) -> Figure:
        """Place the legend inside, away from the curves; a long one goes above the axes of a wide figure."""
        handles, names = self.axes.get_legend_handles_labels()
        longest = max(map(len, names))
        if len(names) <= 5 and longest <= 24:
            self.axes.legend(loc=place, frameon=False, handlelength=1.6, labelspacing=0.25, borderaxespad=0.3)
            return self.figure
        width = self.looks.width or PAGE
        # About 17 letters per inch, and a line before each name.
        columns = min(len(names), max(1, int(17 * width) // (longest + 6)))
        self.figure.set_size_inches(width, HEIGHT + 0.135 * math.ceil(len(names) / columns))
        self.figure.legend(
            handles, names, loc="outside upper left", ncols=columns, frameon=False, labelspacing=0.25, handlelength=2.2
        )
        return self.figure
