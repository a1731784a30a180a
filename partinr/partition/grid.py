"""Partition on a grid (PoG): equal rectangles (Liu et al., ICCV 2023)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.rectangles import closest_to_squares, factorings
from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, PartitionRule, Regions, settled


@spec
class Grid(PartitionRule):
    """``rows`` × ``cols`` rectangles of equal size; along an axis they differ by at most one sample.

    Give ``rows`` and ``cols``, or ``regions``; the default is nine regions, the paper's PoG#9. ``regions`` is factored
    into the rows and columns whose rectangles are closest to squares. The number of regions is always exact. With
    ``regions="auto"`` it follows from the number of parameters, see
    :func:`partinr.model.capacity.settle_regions`.

    Attributes:
        rows: rectangles along the first axis.
        cols: rectangles along the second axis.
        regions: total number, instead of rows and cols; or ``auto``.
    """

    free: ClassVar[bool] = True
    rows: Annotated[int, Field(ge=1)] | None = None
    cols: Annotated[int, Field(ge=1)] | None = None
    regions: Regions | None = None

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: ``regions`` is given with ``rows`` or ``cols``, or one of these two without the other.
        """
        if self.regions is not None and (self.rows is not None or self.cols is not None):
            raise PartinrError("partition.regions excludes partition.rows and partition.cols; give one or the other")
        if (self.rows is None) != (self.cols is None):
            raise PartinrError("partition.rows and partition.cols go together; give both, or partition.regions")

    def labels(self, signal: Tensor) -> Tensor:
        """Rectangles numbered row by row.

        Raises:
            PartinrError: the signal has too few samples along an axis, or is 1-D and ``rows`` and ``cols`` are given.
        """
        shape = signal.shape[:-1]
        counts = self._counts(tuple(shape))
        labels = torch.zeros(1, dtype=torch.int64)
        for n, count in zip(shape, counts, strict=True):
            labels = (labels[:, None] * count + torch.arange(n) * count // n).reshape(-1)
        return labels.reshape(shape)

    def _counts(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The number of rectangles along each axis."""
        if self.rows is not None and self.cols is not None:
            if len(shape) != 2:
                raise PartinrError(
                    f"partition.rows and partition.cols need an image, not a {len(shape)}-D signal; "
                    "give partition.regions"
                )
            if self.rows > shape[0] or self.cols > shape[1]:
                raise PartinrError(
                    f"a grid of {self.rows}×{self.cols} regions does not fit an image of {shape[0]}×{shape[1]} pixels; "
                    "give fewer partition.rows or partition.cols"
                )
            return self.rows, self.cols
        regions = DEFAULT_REGIONS if self.regions is None else settled(self.regions)
        if len(shape) == 1 and regions <= shape[0]:
            return (regions,)
        if len(shape) == 2:
            found = closest_to_squares(regions, shape)
            if found is not None:
                return found
        samples = math.prod(shape)
        size = "×".join(map(str, shape))
        if regions > samples:
            raise PartinrError(
                f"partition.regions={regions} is more than the {samples} samples of a {size} signal; give fewer"
            )
        nearest = next(n for n in range(regions, 0, -1) if factorings(n, shape))
        raise PartinrError(
            f"partition.regions={regions} has no factoring into rows × cols that fits {size} samples; "
            f"the next smaller that has is {nearest}"
        )
