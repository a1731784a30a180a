"""What notebooks show: cards in HTML with small pictures and facts, and pictures and curves in matplotlib."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from partinr.base.errors import check_choice
from partinr.pictures.curves import AXES, TITLES, dress
from partinr.pictures.draw import coloured, partition_overlay, thumbnail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 152
"""Longer side of a picture on a card, in pixels."""

MOST = 4
"""Limit of signals on a card."""

STRIP = 1024
"""Limit of samples of a line in a picture."""


class Shown(NamedTuple):
    """A picture on a card.

    Attributes:
        caption: a few words.
        content: a data URI, or an SVG element.
    """

    caption: str
    content: str


# -- pictures -------------------------------------------------------------------------------------------------------


def plane(values: Any, axes: int) -> np.ndarray:
    """The part of a signal or label map that a picture can show.

    A volume is cut in the middle, a line becomes a strip of at most :data:`STRIP` samples.

    Args:
        values: ``[*grid]`` or ``[*grid, C]``, NumPy array or tensor.
        axes: number of axes of the grid: 1, 2 or 3.

    Returns:
        ``[H, W]`` or ``[H, W, C]``.
    """
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if axes == 1:
        if len(array) > STRIP:
            array = array[np.arange(STRIP) * len(array) // STRIP]
        array = np.repeat(array[None], max(1, len(array) // 8), axis=0)
    elif axes == 3:
        array = array[len(array) // 2]
    return array


def label_picture(labels: Any, image: Any = None) -> np.ndarray:
    """A label map as a picture.

    Args:
        labels: whole numbers ``[*grid]``.
        image: ``[*grid, C]`` in [0, 1], to be tinted; None for the plain colours of the regions.

    Returns:
        float32 RGB ``[H, W, 3]`` in [0, 1].
    """
    drawn = plane(labels, labels.ndim)
    if image is None:
        return partition_overlay(np.full((*drawn.shape, 1), 0.5), drawn, alpha=1)
    return partition_overlay(plane(image, labels.ndim), drawn)


def mosaic(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of any shapes in rows and columns on white: uint8 RGB."""
    if len(pictures) == 1:
        return pictures[0]
    columns = math.ceil(math.sqrt(len(pictures)))
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    gap = max(1, max(height, width) // 40)
    rows = math.ceil(len(pictures) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


def shown(caption: str, picture: Any) -> Shown:
    """A picture for a card, shrunk to :data:`SIDE` pixels: at most 100 kB.

    Args:
        caption: a few words.
        picture: ``[H, W, C]`` with C = 1 or 3, in [0, 1].
    """
    buffer = io.BytesIO()
    Image.fromarray(thumbnail(picture, SIDE)).save(buffer, "PNG", optimize=True)
    return Shown(caption, f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")


def sparkline(rows: Sequence[Mapping[str, float]]) -> Shown:
    """The PSNR of a curve over its steps, for a card, in the colour of the text."""
    points = [(row["step"], row["psnr"]) for row in rows if math.isfinite(row["psnr"])]
    steps, levels = [step for step, _ in points] or [0], [level for _, level in points] or [0]
    width, height = 1.2 * SIDE, 0.6 * SIDE
    wide, tall = max(steps) or 1, max(levels) - min(levels) or 1
    path = " ".join(
        f"{width * step / wide:.1f},{4 + (height - 8) * (max(levels) - level) / tall:.1f}" for step, level in points
    )
    line = f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    said = f"{min(levels):.1f} to {max(levels):.1f} dB"
    return Shown(said, f'<svg {size} style="border-left:1px solid;border-bottom:1px solid">{line}</svg>')


# -- cards ----------------------------------------------------------------------------------------------------------


def card(title: str, facts: Mapping[str, object], pictures: Sequence[Shown] = ()) -> str:
    """A title, facts and pictures as HTML that needs nothing else and takes the colours of the page.

    Args:
        title: what it is.
        facts: values by name; those that are None are left out.
        pictures: from :func:`shown` or :func:`sparkline`.
    """
    lines = "".join(
        f'<div style="opacity:.65">{escape(name)}</div><div>{escape(str(value))}</div>'
        for name, value in facts.items()
        if value is not None
    )
    figures = "".join(
        f'<div style="max-width:{1.2 * SIDE:.0f}px"><div style="opacity:.65">{escape(each.caption) or "&nbsp;"}</div>'
        f"{_element(each.content)}</div>"
        for each in pictures
    )
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:16px;margin:4px 0;font-size:13px;line-height:1.5">'
        f'<div><div style="font-weight:600">{escape(title)}</div>'
        '<div style="display:grid;grid-template-columns:max-content fit-content(18em);column-gap:12px">'
        f"{lines}</div></div>{figures}</div>"
    )


def _element(content: str) -> str:
    if not content.startswith("data:"):
        return content
    # Small images stay sharp, and every picture has one size.
    style = f"width:{SIDE}px;max-height:{SIDE}px;object-fit:contain;object-position:left top;image-rendering:auto"
    return f'<img alt="" src="{content}" style="{style};margin:0">'


# -- matplotlib -----------------------------------------------------------------------------------------------------


def draw_picture(picture: Any, ax: Axes | None = None, title: str = "") -> Axes:
    """Draw a picture without ticks.

    Args:
        picture: ``[H, W, C]``, in [0, 1] or uint8.
        ax: where to draw; None for a new figure.
        title: title of the axes.
    """
    axes = new_axes(4, 4)[0] if ax is None else ax
    array = coloured(picture)
    axes.imshow(array if array.shape[2] == 3 else np.broadcast_to(array, (*array.shape[:2], 3)))
    axes.set_axis_off()
    if title:
        axes.set_title(title, parse_math=False)
    return axes


def draw_curve(
    rows: Sequence[Mapping[str, float]], metric: str, axis: str, ax: Axes | None = None, label: str | None = None
) -> Axes:
    """Draw a column of a curve against another.

    Args:
        rows: one per evaluation.
        metric: ``psnr``, ``ssim``, ``loss``, ``lr`` or a metric of the kind of signal.
        axis: ``step``, ``seconds``, ``cpu_seconds`` or ``macs``.
        ax: where to draw; None for a new figure.
        label: name of the curve in a legend.

    Raises:
        PartinrError: there is no such column.
    """
    columns = dict.fromkeys((*TITLES, *(key for row in rows[:1] for key in row)))
    check_columns(metric, axis, [key for key in columns if key not in AXES])
    axes = new_axes(5, 3.2)[0] if ax is None else ax
    axes.plot([row[axis] for row in rows], [row[metric] for row in rows], marker="o", ms=3, label=label)
    dress(axes, metric, axis)
    return axes


def check_columns(metric: str, axis: str, known: Sequence[str] = tuple(TITLES)) -> None:
    """Check that a curve has such columns, of which ``known`` are no axes.

    Raises:
        PartinrError: it has not.
    """
    check_choice("metric", metric, list(known))
    check_choice("axis", axis, list(AXES))


def new_axes(width: float, height: float, count: int = 1) -> list[Axes]:
    """Axes of a new figure that a notebook shows by itself.

    Args:
        width: of each [in].
        height: of each [in].
        count: number of axes, at most three in a row.
    """
    # Slower to import than the rest of this module.
    import matplotlib.pyplot as plt

    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = plt.figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, 1 + number) for number in range(count)]
    for each in axes:
        each.grid(alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    return axes
