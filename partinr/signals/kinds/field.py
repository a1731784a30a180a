"""Signed distances to a surface, on a grid of a box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.section import field
from partinr.base.spec import spec
from partinr.metrics.surfaces import chamfer, eikonal, iou
from partinr.pictures.shaded import both, error_of, partition_of, slice_labels
from partinr.pictures.surfaces import surface_of, write_ply
from partinr.pictures.write import Depth
from partinr.signals.kind import Asked, SignalKind

MOST_WATCHED = 96**3
"""Samples of a grid whose surfaces are compared at every evaluation, which takes about a second."""


@spec
class FieldKind(SignalKind):
    """A signed distance, truncated at ``low`` and ``high`` = -``low``; the surface is where it is 0, stored as 0.5.

    Attributes:
        spacing: distance of two samples along each axis, in the unit of the mesh, as ``low`` and ``high`` are.
        origin: place of the grid's first corner, in the same unit.
    """

    name: ClassVar[str] = "field"
    words: ClassVar[tuple[str, str]] = ("surface", "surfaces")
    axes: ClassVar[tuple[str, ...]] = ("x", "y", "z")
    endings: ClassVar[tuple[str, ...]] = (".ply",)
    kept: ClassVar[str] = ".ply"
    wiped: ClassVar[bool] = False
    most_samples: ClassVar[int] = 1024
    metrics = (
        field(
            "iou",
            "IoU",
            "metrics.iou",
            "fixed:4",
            better="high",
            short="IoU",
            note="intersection over union of the insides",
        ),
        field(
            "chamfer",
            "Chamfer",
            "metrics.chamfer",
            "significant",
            better="low",
            short="Chamfer",
            note="mean distance between the surfaces; the side of the box is 2. The curve of a large grid has that of "
            "every n-th sample",
        ),
        field(
            "eikonal",
            "Eikonal",
            "metrics.eikonal",
            "fixed:4",
            better="low",
            short="Eikonal",
            note="mean of abs(length of the gradient - 1) near the surface, from differences on the grid",
        ),
    )

    spacing: list[float]
    origin: list[float]

    def measure(self, reconstruction: Tensor, signal: Tensor) -> dict[str, float]:
        """Insides, surfaces and slopes; see :meth:`SignalKind.measure`.

        The surfaces of a grid of more than :data:`MOST_WATCHED` samples are those of every n-th sample along each axis.
        """
        ours, theirs = _plain(reconstruction), _plain(signal)
        stride = ceil((theirs.size / MOST_WATCHED) ** (1 / 3))
        coarse = (slice(None, None, stride),) * 3
        return {
            "iou": iou(ours, theirs),
            "chamfer": chamfer(ours[coarse], theirs[coarse]),
            "eikonal": eikonal(ours, theirs, self._truncation(theirs.shape)),
        }

    def final(self, reconstruction: Tensor, signal: Tensor) -> dict[str, Any]:
        """The distance of the surfaces on the whole grid; see :meth:`SignalKind.final`."""
        ours, theirs = _plain(reconstruction), _plain(signal)
        return {"chamfer": chamfer(ours, theirs)} if theirs.size > MOST_WATCHED else {}

    def picture(self, values: Any) -> NDArray[Any]:
        """A shaded view of the surface, and a slice of the distances; see :meth:`SignalKind.picture`."""
        return both(*self._distances(values))

    def label_plane(self, labels: Any) -> NDArray[np.integer[Any]]:
        """See :meth:`SignalKind.label_plane`.

        Only the slice has regions, since labels alone do not say which of them the view shows.
        """
        return slice_labels(np.asarray(labels))

    def partition_picture(self, labels: Any, values: Any) -> NDArray[Any]:
        """The surface and a slice, with their regions; see :meth:`SignalKind.partition_picture`."""
        return partition_of(np.asarray(labels), *self._distances(values))

    def error_picture(self, signal: Any, reconstruction: Any) -> NDArray[Any]:
        """The error on the surface of the signal and in a slice; see :meth:`SignalKind.error_picture`."""
        error = np.abs(_plain(signal) - _plain(reconstruction).clip(0, 1))
        return error_of(error, *self._distances(signal))

    def shape_for(self, grid: Sequence[int | Fraction], asked: Asked) -> list[int]:
        """See :meth:`SignalKind.shape_for`.

        Raises:
            PartinrError: the resolution is not for this kind, or its spacing is not above 0.
        """
        if asked.spacing is None:
            return super().shape_for(grid, asked)
        if asked.scale is not None or asked.size is not None or not 0 < asked.spacing < float("inf"):
            raise PartinrError(f"--spacing {asked.spacing:g} is a distance above 0, without --scale and --size")
        extents = [float(n) * step for n, step in zip(grid, self.spacing, strict=True)]
        return [max(1, round(extent / asked.spacing)) for extent in extents]

    def resampled(self, grid: Sequence[int | Fraction], shape: Sequence[int], asked: Asked) -> Self:
        """See :meth:`SignalKind.resampled`."""
        extents = [float(n) * step for n, step in zip(grid, self.spacing, strict=True)]
        spacing = [extent / n for extent, n in zip(extents, shape, strict=True)]
        return type(self)(low=self.low, high=self.high, spacing=spacing, origin=self.origin)

    def write(self, path: Path, values: Iterable[NDArray[np.float32]], shape: Sequence[int], depth: Depth) -> None:
        """Write the surface as PLY, in the space of its mesh; see :meth:`SignalKind.write`.

        Raises:
            OSError: the file cannot be written.
        """
        if path.suffix.lower() not in self.endings:
            super().write(path, values, shape, depth)
            return
        surface = surface_of(_plain(np.concatenate(list(values))))
        extent = np.array(self.spacing) * shape[:3]
        places = np.array(self.origin) + (surface.vertices + 1) / 2 * extent
        write_ply(path, surface._replace(vertices=places.astype(np.float32)))

    def _truncation(self, shape: Sequence[int]) -> float:
        """The largest distance where the side of the grid is 2."""
        return 2 * self.high / (self.spacing[0] * shape[0])

    def _distances(self, values: Any) -> tuple[NDArray[np.float32], float]:
        """The distances where the side of the grid is 2, and the largest."""
        plain = _plain(values)
        truncation = self._truncation(plain.shape)
        return np.nan_to_num((2 * plain.clip(0, 1) - 1) * np.float32(truncation), nan=truncation), truncation


def _plain(values: Any) -> NDArray[np.float32]:
    """The first channel on the CPU: float32 ``[*grid]``."""
    array: NDArray[np.float32] = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float32)
    return array[..., 0]
