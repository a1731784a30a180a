"""Pictures of volumes: three slices at right angles to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partinr.pictures.sheet import Sheet

_BODY = ("IS", "PA", "LR")
"""Directions in a body that run down, back and to the right in pictures, and their opposites: as radiologists look."""

_PLANES = ("axial", "coronal", "sagittal")

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
        way = Upright.of(axes, spacing)
        strides = [shape[1] * shape[2], shape[2], 1]
        extents = [n * each for n, each in zip(shape, spacing, strict=True)]
        unit = max(min(spacing), max(extents) / _MOST)
        # For each direction of the picture, the share of every pixel in the number of its sample.
        numbers = []
        for axis, backwards in zip(way.order, way.turned, strict=True):
            pixels = max(1, round(extents[axis] / unit))
            samples = (2 * np.arange(pixels) + 1) * shape[axis] // (2 * pixels)
            numbers.append((samples[::-1] if backwards else samples) * strides[axis])
        fixed = [at[axis] * strides[axis] for axis in way.order]
        cuts = [
            numbers[down][:, None] + numbers[right] + fixed[through]
            for through, down, right in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        ]
        super().__init__(_beside(cuts))


@dataclass(frozen=True)
class Upright:
    """How a volume is turned for pictures: its axes run down, back and to the right.

    Attributes:
        order: the axes of the volume that run so.
        turned: whether each of them runs the other way in the volume.
        planes: names of the slices across each of them.
        spacing: distance of samples along each of them.
    """

    order: tuple[int, ...]
    turned: tuple[bool, ...]
    planes: tuple[str, ...]
    spacing: tuple[float, ...]

    @classmethod
    def of(cls, axes: Sequence[str], spacing: Sequence[float]) -> Upright:
        """The way of a volume whose axes have these names and distances."""
        order = [next((at for at, name in enumerate(axes) if name in ways), None) for ways in _BODY]
        found = tuple(axis for axis in order if axis is not None)
        if len(found) < 3:
            return cls((0, 1, 2), (False,) * 3, tuple(f"across {name}" for name in axes), tuple(spacing))
        turned = tuple(axes[axis] != ways[0] for axis, ways in zip(found, _BODY, strict=True))
        return cls(found, turned, _PLANES, tuple(spacing[axis] for axis in found))

    def __call__(self, table: NDArray[Any]) -> NDArray[Any]:
        """A volume or label map ``[D, H, W, ...]`` turned."""
        flipped = tuple(slice(None, None, -1 if each else 1) for each in self.turned)
        return table.transpose(*self.order, *range(3, table.ndim))[flipped]


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
