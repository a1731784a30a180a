"""Pictures of images and partitions.

Arrays in, arrays or PNG bytes out. Images are ``[H, W, C]`` with values in [0, 1], NumPy arrays or tensors on any
device; C = 3 is RGB, 1 grey, and other numbers of channels are drawn as `coloured` says. Pictures are float32 RGB NumPy
arrays with values in [0, 1].
"""

from __future__ import annotations

import heapq
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.pictures.paper import drawn

#: Level of zlib for PNG. The default, 6, takes two to three times as long for files that are hardly smaller.
PNG_LEVEL = 3

# The seven hues of Okabe and Ito (Color Universal Design, 2008), distinct with every kind of colour vision. Six are
# enough for any planar map in the order of `_colour_order`.
_REGION_COLOURS = (
    np.array(
        [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (240, 228, 66)],
        dtype=np.float32,
    )
    / 255
)
# For each colour, those that differ from it more in lightness than in hue (the blues; yellow and vermilion from
# orange). They look alike over an image, which has its own lightness.
_NEAR = {0: (4,), 1: (5, 6), 2: (), 3: (), 4: (0,), 5: (1,), 6: (1,)}

# Overlays of smaller images are enlarged until their longer side has at least this many pixels.
_OVERLAY_SIDE = 1024
# The fraction of its brightness that a pixel next to a white line keeps.
_LINE_EDGE = 0.4

# Measures of a contact sheet in inches, at `_SHEET_DPI`: the longer side of a panel (less if the sheet would be too
# wide), the space for two lines of title, and the gap to the next panel.
_PANEL_SIDE, _PANEL_TITLE, _PANEL_GAP = 3.2, 0.38, 0.12
_SHEET_WIDTH = 19.0
_SHEET_DPI = 200


def to_uint8(image: Any) -> np.ndarray:
    """An image rounded to 8 bits.

    Args:
        image: ``[H, W, C]``. Values outside [0, 1] are clipped. Values that are not finite become 0, so
            that a diverged reconstruction can be drawn.

    Returns:
        uint8 ``[H, W, C]``.

    Raises:
        PartinrError: `image` has another shape.
    """
    finite = np.nan_to_num(as_image(image), nan=0.0, posinf=0.0, neginf=0.0)
    rounded: np.ndarray = np.rint(np.clip(finite, 0, 1) * 255)
    return rounded.astype(np.uint8)


def coloured(values: Any) -> np.ndarray:
    """Channels as colours: those of 1 (grey) and 3 (RGB) as they are, false colours of others.

    Of two channels, the first is red, the second blue and their mean green. Of four, the first three are RGB, and the
    fourth, such as transparency or infrared, is not drawn. More are bands from short to long waves: blue is the mean of
    the first third, green of the second and red of the last. Equal channels are grey.

    Args:
        values: ``[*grid, C]``.

    Returns:
        ``[*grid, 1 or 3]``.
    """
    array = as_array(values)
    channels = array.shape[-1]
    if channels in (1, 3):
        return array
    if channels == 4:
        return array[..., :3]
    if channels == 2:
        array = np.stack([array[..., 1], array.mean(-1), array[..., 0]], -1)
    thirds = np.array_split(array, 3, -1)
    return np.stack([third.mean(-1) for third in reversed(thirds)], -1)


def encode_png(image: Any) -> bytes:
    """The bytes of an 8-bit PNG file, grey or RGB, of ``[H, W, C]``; values as in `to_uint8`."""
    pixels = to_uint8(coloured(image))
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def partition_overlay(image: Any, labels: Any, *, border: int | None = None, alpha: float = 0.45) -> np.ndarray:
    """The image with its label map: a tint for each region, and a light line with a dark edge between regions.

    Regions that touch at a side or corner get different tints if seven colours are enough, which is the case for any
    partition into connected regions. A small image is enlarged by a whole factor, so that lines lie between its pixels
    and do not cover them.

    Args:
        image: ``[H, W, C]`` in [0, 1].
        labels: integer ``[H, W]``, the region of each pixel.
        border: width of the lines in pixels of the picture; 0 for no lines. By default it follows from the sizes of
            picture and regions.
        alpha: weight of the tint, 0 (the image alone) to 1 (the label map alone).

    Returns:
        float32 RGB ``[k*H, k*W, 3]`` in [0, 1]; k is 1 for images with a side of 1,024 pixels or more. One region gives
        the image itself.

    Raises:
        PartinrError: a shape, the type of the labels, or an option is invalid.
    """
    pixels = to_uint8(coloured(image)).astype(np.float32) / 255
    regions = _as_labels(labels, pixels.shape[:2])
    if not 0 <= alpha <= 1:
        raise PartinrError(f"alpha={alpha} is no weight for a tint; choose a value from 0 to 1")
    if border is not None and border < 0:
        raise PartinrError(f"border={border} is no width for a line; choose 0 or more pixels")
    pixels = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    factor = -(-_OVERLAY_SIDE // max(regions.shape))
    if regions.max() > 0 and alpha > 0:
        colours = _REGION_COLOURS[_colour_regions(regions)]
        # A tint over grey keeps the shading of the image, whose hues would mix with those of the regions.
        grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        pixels = (1 - alpha) * (0.5 * pixels + 0.5 * grey[:, :, None]) + alpha * colours[regions]
    picture = _enlarged(pixels, factor)
    cell = factor * _mean_run(regions)
    if border is None:
        # Regions of scattered pixels, such as random ones, are mostly borders, so tints alone show more.
        border = 0 if cell < 7 else max(1, round(min(max(picture.shape) / 300, cell / 24)))
    if border > 0:
        regions = _enlarged(regions, factor)
        if cell >= 16:
            picture[_lines(regions, border + 2)] *= _LINE_EDGE
        picture[_lines(regions, border)] = 1
    return picture


def thumbnail(image: Any, side: int = 1024) -> np.ndarray:
    """An image as uint8 RGB ``[H, W, 3]``, shrunk until its longer side has at most ``side`` pixels.

    Args:
        image: ``[H, W, C]``; values as in `to_uint8`.
        side: limit of the longer side in pixels.
    """
    pixels = to_uint8(coloured(image))
    small = Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small)


@dataclass(frozen=True)
class Panel:
    """A picture on a contact sheet.

    Attributes:
        picture: uint8 RGB ``[H, W, 3]``, such as from `thumbnail`.
        title: one line above the picture.
        note: a smaller line below the title.
    """

    picture: np.ndarray
    title: str
    note: str = ""


def contact_sheet(rows: Sequence[Sequence[Panel | None]], kind: Literal["png", "pdf"] = "png") -> bytes:
    """Pictures side by side in cells of equal width, each with its title.

    Args:
        rows: from top to bottom, from left to right; None leaves a cell empty.
        kind: format of the file.

    Returns:
        the bytes of the file: a PNG of at most 4,000 pixels in width, or a PDF of the same layout with text as text.
    """
    # Slower to import than the rest of this module.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    shapes = [[panel.picture.shape[:2] for panel in row if panel is not None] for row in rows]
    # Width of a panel over its longer side, with a minimum that keeps titles out of the next panel.
    share = max(0.5, *(w / max(h, w) for row in shapes for h, w in row))
    width = min(share * _PANEL_SIDE, (_SHEET_WIDTH - _PANEL_GAP) / columns - _PANEL_GAP)
    heights = [max(width / share * h / max(h, w) for h, w in row) for row in shapes]
    total = (
        _PANEL_GAP + columns * (width + _PANEL_GAP),
        _PANEL_GAP + sum(height + _PANEL_TITLE + _PANEL_GAP for height in heights),
    )
    settings: dict[Any, Any] = {
        "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib
        "text.parse_math": False,  # a name may contain a dollar sign
        "pdf.fonttype": 42,
    }
    with rc_context(settings):
        figure = Figure(figsize=total, dpi=_SHEET_DPI)
        top = total[1] - _PANEL_GAP
        for row, height in zip(rows, heights, strict=True):
            for column, panel in enumerate(row):
                if panel is None:
                    continue
                left = _PANEL_GAP + column * (width + _PANEL_GAP)
                bottom = top - _PANEL_TITLE - height
                axes = figure.add_axes((left / total[0], bottom / total[1], width / total[0], height / total[1]))
                axes.set_axis_off()
                axes.set_anchor("NW")
                axes.imshow(panel.picture)
                # In points from the top of the picture.
                for text, up, size, colour in ((panel.title, 14, 9, "#1b2733"), (panel.note, 4, 7.5, "#5c6570")):
                    axes.annotate(
                        text, (0, 1), (0, up), "axes fraction", textcoords="offset points", fontsize=size, color=colour
                    )
            top -= height + _PANEL_TITLE + _PANEL_GAP
        return drawn(figure, kind)


def as_array(values: Any) -> np.ndarray:
    """Values as an array, without a copy if they are one."""
    # NumPy does not accept tensors with gradients or on a GPU.
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def as_image(values: Any) -> np.ndarray:
    """An image as float32 ``[H, W, C]``.

    Raises:
        PartinrError: `values` has another shape.
    """
    array = as_array(values)
    if array.ndim != 3 or array.size == 0:
        raise PartinrError(f"a picture needs [H, W, C], not the shape {array.shape}; reshape it")
    return array.astype(np.float32)


def _as_labels(values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Labels ``[H, W]``, renumbered 0..R-1 without a gap."""
    labels = as_array(values)
    if labels.dtype.kind not in "iu":
        raise PartinrError(f"labels must be integers, not {labels.dtype}; convert them with .astype(int)")
    if labels.shape != shape:
        raise PartinrError(f"the labels have the shape {labels.shape}, the image {shape}; give one label a pixel")
    return np.unique(labels, return_inverse=True)[1].reshape(shape)


def _enlarged(array: np.ndarray, factor: int) -> np.ndarray:
    height, width, *rest = array.shape
    # One copy; two calls of repeat take five times as long.
    blocks = np.broadcast_to(array[:, None, :, None], (height, factor, width, factor, *rest))
    return np.array(blocks, order="C").reshape(height * factor, width * factor, *rest)


def _mean_run(labels: np.ndarray) -> float:
    """Average number of pixels between two borders in a row or column."""
    steps = [labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]]
    borders = sum(int(step.sum()) for step in steps)
    return sum(step.size for step in steps) / borders if borders else math.inf


def _lines(labels: np.ndarray, width: int) -> np.ndarray:
    """Mask of lines of `width` pixels, centred between pixels of different labels: bool ``[H, W]``.

    A pixel is on a line if labels differ within a window of width + 1 around it, which also fills the corners.
    """
    padded = np.pad(labels, (0, 1), mode="edge")
    first = padded[:-1, :-1]
    # Windows of two tell whether a pixel differs from those below and to the right. Wider windows consist of these.
    lines: np.ndarray = (first != padded[1:, :-1]) | (first != padded[:-1, 1:]) | (first != padded[1:, 1:])
    for _ in range(2):  # along the rows, then, on the transpose, along the columns
        wider = np.pad(lines, ((width // 2, width - width // 2 - 1), (0, 0)))
        lines = np.logical_or.reduce([wider[shift : shift + len(lines)] for shift in range(width)]).T
    return lines


def _pairs(first: np.ndarray, second: np.ndarray, regions: int) -> np.ndarray:
    """Pairs of different labels at equal places, each pair once: ``[P, 2]``."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    codes = np.unique((low * regions + high)[low != high])
    return np.stack([codes // regions, codes % regions], axis=1)


def _neighbours(pairs: list[np.ndarray], regions: int) -> list[set[int]]:
    neighbours: list[set[int]] = [set() for _ in range(regions)]
    for first, second in np.concatenate(pairs).tolist():
        neighbours[first].add(second)
        neighbours[second].add(first)
    return neighbours


def _colour_order(neighbours: list[set[int]]) -> list[int]:
    """Smallest-last order (Matula and Beck, 1983): in a planar graph at most five neighbours precede any vertex."""
    degrees = [len(around) for around in neighbours]
    heap = [(degree, region) for region, degree in enumerate(degrees)]
    heapq.heapify(heap)
    order: list[int] = []
    left = [True] * len(neighbours)
    while heap:
        degree, region = heapq.heappop(heap)
        if not left[region] or degree != degrees[region]:
            continue
        left[region] = False
        order.append(region)
        for other in neighbours[region]:
            if left[other]:
                degrees[other] -= 1
                heapq.heappush(heap, (degrees[other], other))
    return order[::-1]


def _colour_regions(labels: np.ndarray) -> np.ndarray:
    """The colour of each region, an index into `_REGION_COLOURS`: ``[R]``.

    It differs from adjacent colours. If possible it is also dissimilar to them, differs from those across corners, and
    is rarely used.
    """
    regions = int(labels.max()) + 1
    beside = _neighbours(
        [_pairs(labels[1:], labels[:-1], regions), _pairs(labels[:, 1:], labels[:, :-1], regions)], regions
    )
    across = _neighbours(
        [_pairs(labels[1:, 1:], labels[:-1, :-1], regions), _pairs(labels[1:, :-1], labels[:-1, 1:], regions)], regions
    )
    colours: dict[int, int] = {}
    used = Counter[int]()
    for region in _colour_order(beside):
        taken = [colours[other] for other in beside[region] if other in colours]
        touched = [colours[other] for other in across[region] if other in colours]
        costs = [
            (taken.count(colour), sum(map(taken.count, _NEAR[colour])), touched.count(colour), used[colour], colour)
            for colour in range(len(_REGION_COLOURS))
        ]
        colours[region] = min(costs)[-1]
        used[colours[region]] += 1
    return np.array([colours[region] for region in range(regions)])
