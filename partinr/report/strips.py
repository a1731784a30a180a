"""Figures of pictures: image, reconstructions, partitions and errors of groups in a row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from partinr.base.numbers import write
from partinr.pictures.errors import ERROR_COLORMAP
from partinr.pictures.paper import COLUMN, PAGE
from partinr.report.errors import error_of, opened
from partinr.report.groups import Group, Study
from partinr.report.looks import INSET_PART, Inset, Looks
from partinr.runs.layout import ERROR, IMAGE, PARTITION, RECONSTRUCTION
from partinr.runs.records import RunRecord
from partinr.runs.regime_facts import SUMMARY
from partinr.runs.subject import metrics_of

PICTURE_SIDE = 1024
"""Longer side of a picture in a figure [pixels]: at least 400 dpi in print, with a small PDF."""

GROUPS_A_STRIP = 6
"""Most groups per figure of pictures; more groups need further figures."""

FRAME = "#00e5ff"
"""Colour of the inset's frame, which neither photographs nor the colours of errors have."""

_KINDS = {IMAGE: "image", PARTITION: "partition", RECONSTRUCTION: "reconstruction", ERROR: "absolute error"}

_ROWS = (RECONSTRUCTION, PARTITION, ERROR)
"""Rows from top to bottom; the reconstruction is next to the image."""

_Shown = Sequence[tuple[Group, RunRecord]]
"""Groups, and the runs whose pictures are drawn."""


def check_inset(study: Study, looks: Looks) -> None:
    """Check that every image with pictures has the rectangle of the inset, before any file is written.

    Raises:
        PartinrError: one does not.
    """
    for image in study.images:
        shown = _shown(study.on(image))
        if looks.inset is not None and shown:
            pictures = _Pictures.of(shown, looks)
            looks.inset.check(image, pictures.height, pictures.width)


def strips_of(groups: Sequence[Group], looks: Looks) -> Iterator[Figure]:
    """The figures of the pictures of an image; none if no group has pictures."""
    shown = _shown(groups)
    if not shown:
        return
    pictures = _Pictures.of(shown, looks)
    if len(shown) == 1:
        yield pictures.single(shown[0][1])
        return
    # Of much the same length: seven groups are four and three.
    length = math.ceil(len(shown) / math.ceil(len(shown) / GROUPS_A_STRIP))
    for start in range(0, len(shown), length):
        yield pictures.strip(shown[start : start + length])


def _shown(groups: Sequence[Group]) -> _Shown:
    """The groups that have pictures, each with the run whose pictures they are."""
    return [
        (group, record)
        for group in groups
        if (record := group.median()) and any((record.path / name).is_file() for name in _ROWS)
    ]


@dataclass(frozen=True)
class _Pictures:
    """Draws the pictures of runs on one image."""

    looks: Looks
    height: int
    """Rows of the image."""
    width: int
    """Columns of the image."""

    @classmethod
    def of(cls, shown: _Shown, looks: Looks) -> _Pictures:
        """The pictures of runs."""
        found = (_size(record.path / name) for name in (IMAGE, *_ROWS) for _, record in shown)
        width, height = next(filter(None, found), (1, 1))
        return cls(looks, height, width)

    def single(self, record: RunRecord) -> Figure:
        """The four pictures of one run in a row, one column of a paper wide."""
        aspect, width = self.height / self.width, self.looks.width or COLUMN
        figure = self._figure(width, width / 4 * aspect + 0.45)
        all_axes = figure.subplots(1, 4)
        for axes, (name, kind) in zip(all_axes, _KINDS.items(), strict=True):
            self._show(axes, record, name).set_title(kind)
        all_axes[2].set_xlabel(self._quality(record), labelpad=2)
        self._scale(figure, all_axes[3].inset_axes((0.1, -0.12 / aspect, 0.8, 0.06 / aspect)))
        return figure

    def strip(self, shown: _Shown) -> Figure:
        """A column of pictures for each group, after that of the image."""
        columns = len(shown) + 1
        width = self.looks.width or (COLUMN if columns <= 3 else PAGE)
        figure = self._figure(width, 3 * width / columns * self.height / self.width + 0.45)
        grid = figure.add_gridspec(3, columns)
        self._show(figure.add_subplot(grid[0, 0]), shown[0][1], IMAGE).set_title("image")
        # About 13 letters per inch.
        letters = max(8, int(13 * width / columns))
        for column, (group, record) in enumerate(shown, 1):
            for row, name in enumerate(_ROWS):
                axes = self._show(figure.add_subplot(grid[row, column]), record, name)
                if row == 0:
                    axes.set_title(_wrapped(group.title, letters))
                    axes.set_xlabel(self._quality(record), labelpad=2)
                if column == 1:
                    axes.set_ylabel(_KINDS[name], labelpad=2)
        scale = figure.add_subplot(grid[2, 0])
        scale.set_axis_off()
        self._scale(figure, scale.inset_axes((0.05, 0.3, 0.9, 0.1)), label="absolute error")
        return figure

    def _figure(self, width: float, height: float) -> Figure:
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)  # type: ignore[union-attr, call-arg]
        return figure

    def _quality(self, record: RunRecord) -> str:
        leading = record.subject.leading
        fields = {each["key"]: each for each in (*SUMMARY, *metrics_of(record.manifest))}
        key = self.looks.metric if self.looks.metric in fields else leading.key
        value = record.final(key)
        if value is None:
            return ""
        return leading.written(value) if key == leading.key else f"{fields[key]['heading']} {write(value, 'fixed:3')}"

    def _scale(self, figure: Figure, axes: Axes, label: str = "") -> None:
        """Draw the colours of the error pictures into ``axes``."""
        scale = self.looks.error_scale
        norm = (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
        colours, extend = ScalarMappable(norm, ERROR_COLORMAP), "both" if scale.low > 0 else "max"
        bar = figure.colorbar(colours, cax=axes, orientation="horizontal", extend=extend, label=label)
        bar.set_ticks(scale.ticks, labels=[f"{tick:g}" for tick in scale.ticks])
        bar.minorticks_off()
        bar.outline.set_linewidth(0)

    def _show(self, axes: Axes, record: RunRecord, name: str) -> Axes:
        """Show a picture of a run without axes, with the inset in the corner that is farthest from its rectangle."""
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        with self._picture(record, name) as picture:
            if picture is None:
                axes.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axes.transAxes, color="#5c6570")
                axes.set_aspect("equal")
                return axes
            # In pixels of the image, whatever the size of the picture.
            axes.imshow(_small(picture), extent=(0, self.width, self.height, 0))
            if self.looks.inset is not None:
                self._enlarge(axes, picture, self.looks.inset)
        return axes

    def _enlarge(self, axes: Axes, picture: Image.Image, inset: Inset) -> None:
        height, width = inset.bottom - inset.top, inset.right - inset.left
        across, down = picture.width / self.width, picture.height / self.height
        box = (inset.left * across, inset.top * down, inset.right * across, inset.bottom * down)
        part = picture.crop((round(box[0]), round(box[1]), max(1, round(box[2])), max(1, round(box[3]))))
        factor = INSET_PART * min(self.width / width, self.height / height)
        size = (factor * width / self.width, factor * height / self.height)
        left = 0.0 if inset.left + inset.right > self.width else 1 - size[0]
        bottom = 0.0 if inset.top + inset.bottom < self.height else 1 - size[1]
        inner = axes.inset_axes((left, bottom, *size), xticks=[], yticks=[])
        inner.grid(False)
        inner.imshow(_small(part), aspect="auto", interpolation="nearest")
        for spine in inner.spines.values():
            spine.set(visible=True, edgecolor=FRAME, linewidth=0.9)
        axes.add_patch(Rectangle((inset.left, inset.top), width, height, fill=False, edgecolor=FRAME, linewidth=0.9))

    @contextmanager
    def _picture(self, record: RunRecord, name: str) -> Iterator[Image.Image | None]:
        """A picture of a run; errors on the scale of the figure. None if it is missing or damaged."""
        if name == ERROR and record.is_picture:
            error = error_of(record.path, self.looks.error_scale)
            yield None if error is None else Image.fromarray(error)
            return
        with opened(record.path / name) as picture:
            yield picture


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture file; None if it is missing or damaged."""
    with opened(path) as picture:
        return None if picture is None else picture.size


def _small(picture: Image.Image) -> Image.Image:
    """A picture of at most :data:`PICTURE_SIDE` pixels along a side."""
    copy = picture.convert("RGB")
    copy.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    return copy


def _wrapped(label: str, width: int) -> str:
    """``label`` in lines of at most ``width`` characters, broken between its parts or words."""
    lines: list[str] = []
    for part in label.split(" · "):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines += wrap(part, width, break_long_words=False)
    return "\n".join(lines)
