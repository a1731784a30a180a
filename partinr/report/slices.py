"""A volume and its fit as one self-contained HTML file, to slice along every axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partinr.base.files import write_output
from partinr.base.text import utf8
from partinr.pictures.draw import coloured, encode_png
from partinr.pictures.errors import ERROR_SCALE
from partinr.pictures.slices import Upright
from partinr.report.templates import error_colours, error_legend, template
from partinr.report.viewer import data_uri, labels_png

MOST_SAMPLES = 2**24
"""Samples that a page holds, such as 256³; of larger volumes it shows every n-th along each axis."""


@dataclass(frozen=True)
class Block:
    """A volume and its fit.

    Attributes:
        signal: ``[D, H, W, C]`` in [0, 1].
        fit: of the same shape.
        labels: integer ``[D, H, W]``.
        upright: how they are turned.
        low: the physical value that is stored as 0.
        high: the physical value that is stored as 1.
        name: what the fit is called.
    """

    signal: NDArray[np.floating]
    fit: NDArray[np.floating]
    labels: NDArray[np.integer[Any]]
    upright: Upright
    low: float
    high: float
    name: str = "fit"


def write_slices(
    path: str | Path,
    blocks: Sequence[Block],
    *,
    title: str,
    facts: Sequence[str] = (),
    media: Sequence[Mapping[str, str]] = (),
) -> Path:
    """Write a volume and its fits as a page with three slices and a slider for each.

    Args:
        path: the file; replaced in one step.
        blocks: the volume with each of its fits.
        title: title of the page.
        facts: lines under the title.
        media: further pictures, as for :func:`partinr.report.viewer.write_view`.

    Returns:
        ``path``.

    Raises:
        PartinrError: the file cannot be written.
    """
    path, stride, block = Path(path), 1, blocks[0]
    while math.prod(-(-n // stride) for n in block.labels.shape) > MOST_SAMPLES:
        stride += 1
    if stride > 1:
        facts = [*facts, f"every sample of {stride} along each axis"]

    def shown(volume: NDArray[Any]) -> NDArray[Any]:
        return block.upright(volume)[::stride, ::stride, ::stride]

    labels = shown(block.labels)
    stage = {
        "shape": labels.shape,
        "columns": math.ceil(math.sqrt(len(labels))),
        "spacing": [stride * each for each in block.upright.spacing],
        "planes": block.upright.planes,
        "range": [block.low, block.high],
        "pictures": {
            "signal": data_uri(encode_png(_mosaic(coloured(shown(block.signal))))),
            **{f"fit{n}": data_uri(encode_png(_mosaic(coloured(shown(each.fit))))) for n, each in enumerate(blocks)},
            **{f"labels{n}": data_uri(labels_png(_mosaic(shown(each.labels)))) for n, each in enumerate(blocks)},
        },
        "fits": [each.name for each in blocks],
        "error": {"range": [ERROR_SCALE.low, ERROR_SCALE.high], "colours": error_colours(256)},
    }
    page = template("slices.html").render(title=title, facts=list(facts), stage=stage, media=media, **error_legend())
    write_output(path, utf8(page))
    return path


def _mosaic(volume: NDArray[Any]) -> NDArray[Any]:
    """The slices ``[D, H, W, ...]`` of a volume as tiles of one picture, row by row."""
    depth, height, width, *rest = volume.shape
    columns = math.ceil(math.sqrt(depth))
    rows = math.ceil(depth / columns)
    tiles = np.zeros((rows * columns, height, width, *rest), volume.dtype)
    tiles[:depth] = volume
    laid = tiles.reshape(rows, columns, height, width, *rest).swapaxes(1, 2)
    return laid.reshape(rows * height, columns * width, *rest)
