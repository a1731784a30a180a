"""Pictures of volumes: three slices at right angles to each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from partinr.pictures.sheet import Sheet

_BODY = ("IS", "PA", "LR")
"""Directions in a body that run down, back and to the right in pictures, and their opposites: as radiologists look."""

_MOST = 2048
"""Limit of pixels along an axis of a slice."""


class SliceSheet(Sheet):
    """Slices of a volume side by side: from above, from the front, and from the side.

    A volume whose axes lead to sides of the body is turned, so that a head stands upright. The axes of others run down,
    back and to the right. Samples are as large as their spacing.

    Args:
        shape: ``[D, H, W]`` of the volume.
        axes: names of its axes, such as ``R``, ``A``, ``S``.
        spacing: distance of samples along each axis.
        at: number of the slice across each axis of the volume; None for those in the middle.
    """

    def __init__(
        self, shape: Sequence[int], axes: Sequence[str], spacing: Sequence[float], at: Sequence[int] | None = None
    ) -> None:
        at = [n // 2 for n in shape] if at is None else at
        order, turned = display(axes)
        strides = [shape[1] * shape[2], shape[2], 1]
        extents = [n * each for n, each in zip(shape, spacing, strict=True)]
        unit = max(min(spacing), max(extents) / _MOST)
        # For each direction of the picture, the share of every pixel in the number of its sample.
        numbers = []
        for axis, backwards in zip(order, turned, strict=True):
            pixels = max(1, round(extents[axis] / unit))
            samples = (2 * np.arange(pixels) + 1) * shape[axis] // (2 * pixels)
            numbers.append((samples[::-1] if backwards else samples) * strides[axis])
        fixed = [at[axis] * strides[axis] for axis in order]
        cuts = [
            numbers[down][:, None] + numbers[right] + fixed[through]
            for through, down, right in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        ]
        super().__init__(_beside(cuts))


def display(axes: Sequence[str]) -> tuple[list[int], list[bool]]:
    """The axes of a volume that run down, back and to the right in pictures, and whether they run the other way.

    Args:
        axes: their names.
    """
    order = [next((at for at, name in enumerate(axes) if name in ways), None) for ways in _BODY]
    found = [axis for axis in order if axis is not None]
    if len(found) < 3:
        return [0, 1, 2], [False] * 3
    return found, [axes[axis] != ways[0] for axis, ways in zip(found, _BODY, strict=True)]


def _beside(cuts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Cuts from left to right, with paper between and below."""
    height = max(map(len, cuts))
    gap = max(1, height // 24)
    return np.concatenate(
        [
            np.pad(cut, ((0, height - len(cut)), (0, gap * (at < len(cuts) - 1))), constant_values=-1)
            for at, cut in enumerate(cuts)
        ],
        axis=1,
    )
