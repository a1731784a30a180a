"""Partition on a grid (PoG): equal rectangles (Liu et al., ICCV 2023), intervals or boxes."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field, Strict
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.rectangles import closest_to_cubes, factorings
from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, PartitionRule, Regions, fitting

Count = Annotated[int, Field(ge=1)]


@spec
class Grid(PartitionRule):
    """Boxes of equal size; along an axis they differ by at most one sample.

    Give ``regions``, or the boxes along each axis as ``shape``, or for an image as ``rows`` and ``cols``; the default
    is nine regions, the paper's PoG#9. ``regions`` is factored into the boxes closest to squares or cubes. The number
    of regions is always exact. With ``regions="auto"`` it follows from the number of parameters, see
    :func:`partinr.model.capacity.settle_regions`.

    Attributes:
        rows: rectangles along the first axis of an image.
        cols: rectangles along its second axis.
        regions: total number, instead of rows and cols; or ``auto``.
        shape: boxes along each axis of any signal, such as ``[2, 4, 4]``, instead of the others.
    """

    free: ClassVar[bool] = True
    rows: Count | None = None
    cols: Count | None = None
    regions: Regions | None = None
    shape: Annotated[tuple[Annotated[Count, Strict()], ...], Field(min_length=1), Strict(False)] | None = None

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: ``regions`` is given with ``rows`` or ``cols``, one of these two without the other, or
                ``shape`` with any.
        """
        if self.regions is not None and (self.rows is not None or self.cols is not None):
            raise PartinrError("partition.regions excludes partition.rows and partition.cols; give one or the other")
        if (self.rows is None) != (self.cols is None):
            raise PartinrError("partition.rows and partition.cols go together; give both, or partition.regions")
        if self.shape is not None and (self.regions, self.rows) != (None, None):
            other = "regions" if self.rows is None else "rows and partition.cols"
            raise PartinrError(f"partition.shape excludes partition.{other}; give one or the other")

    @property
    def counts(self) -> tuple[int, ...] | None:
        """The number of boxes along each axis; None if it follows from ``regions`` and the signal."""
        return (self.rows, self.cols) if self.rows is not None and self.cols is not None else self.shape

    def labels(self, signal: Tensor) -> Tensor:
        """Boxes numbered row by row.

        Raises:
            PartinrError: the signal has too few samples along an axis, or other axes than the options.
        """
        shape = signal.shape[:-1]
        counts = self._counts(tuple(shape))
        labels = torch.zeros(1, dtype=torch.int64)
        for n, count in zip(shape, counts, strict=True):
            labels = (labels[:, None] * count + torch.arange(n) * count // n).reshape(-1)
        return labels.reshape(shape)

    def _counts(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The number of boxes along each axis."""
        size = "×".join(map(str, shape))
        if (counts := self.counts) is not None:
            option = "partition.shape" if self.rows is None else "partition.rows and partition.cols"
            if len(shape) != len(counts):
                raise PartinrError(
                    f"{option} give a grid of {len(counts)} axes, and the signal has {len(shape)} ({size} samples); "
                    "give partition.regions instead"
                )
            if any(count > n for count, n in zip(counts, shape, strict=True)):
                raise PartinrError(
                    f"a grid of {'×'.join(map(str, counts))} regions does not fit {size} samples; "
                    f"give smaller {option}, at most the samples along each axis"
                )
            return counts
        regions = fitting(DEFAULT_REGIONS if self.regions is None else self.regions, shape)
        if (found := closest_to_cubes(regions, shape)) is not None:
            return found
        nearest = next(n for n in range(regions, 0, -1) if factorings(n, shape))
        raise PartinrError(
            f"partition.regions={regions} has no factoring that fits {size} samples; "
            f"the next smaller that has is {nearest}"
        )
