"""Random step functions: 1 and -1 in turn along a line, and products of two of them in the plane.

The borders are known exactly, so what a network makes of them can be held against how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.coords import grid_coords

MARGIN = 0.01
"""Of the gap between two samples: how near to one of them a border may lie, so that no rounding moves it past one."""


@dataclass(frozen=True, eq=False)
class StepSignal:
    """A function on [-1, 1]^d with the values 1 and -1, which changes its sign at every border of every axis.

    Attributes:
        borders: float32 ``[n]`` for each axis, ascending, in (-1, 1).
        first: its value at the lower ends of all axes, 1 or -1.
    """

    borders: tuple[Tensor, ...]
    first: int

    lowest: ClassVar[float] = -1.0
    """Of the values; the highest is 1."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Borders along each axis."""
        return tuple(len(each) for each in self.borders)

    @property
    def cells(self) -> int:
        """Pieces on which it is constant, and of which no two with a side in common have the same value."""
        return math.prod(count + 1 for count in self.counts)

    @property
    def boundaries(self) -> int:
        """Sides that two cells have in common; along a line its borders.

        With m and n borders in the plane that is 2 m n + m + n.
        """
        return sum(count * self.cells // (count + 1) for count in self.counts)

    def __call__(self, coords: Tensor) -> Tensor:
        """Its values.

        Args:
            coords: float32 ``[M, d]`` in [-1, 1].

        Returns:
            float32 ``[M, 1]``.
        """
        passed = sum(
            torch.searchsorted(own, coords[:, axis].contiguous(), right=True) for axis, own in enumerate(self.borders)
        )
        assert isinstance(passed, Tensor)
        return (self.first * (1 - 2 * (passed % 2))).float().unsqueeze(1)

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Its values at the samples of a grid: float32 ``[*shape, 1]``."""
        return self(grid_coords(shape).float()).reshape(*shape, 1)


def step_signal(counts: Sequence[int], shape: Sequence[int], *, seed: Sequence[int]) -> StepSignal:
    """A random step function with exactly so many borders.

    They are spread evenly over [-1, 1], but for this: a grid of the given shape shows them all. None lies beyond the
    outermost samples, and no two between the same two samples.

    Args:
        counts: borders along each axis, 0 or more.
        shape: of that grid.
        seed: whole numbers, 0 or more; the same numbers make the same signal.

    Raises:
        PartinrError: the grid cannot show so many.
    """
    rng = np.random.default_rng(list(seed))
    first = int(rng.choice((-1, 1)))
    borders = []
    for count, samples in zip(counts, shape, strict=True):
        if count >= samples:
            raise PartinrError(
                f"{count} borders along an axis of {samples} samples cannot be told apart; "
                "give a larger data.shape, or smaller data.counts"
            )
        gap = np.sort(rng.choice(samples - 1, count, replace=False))
        # Sample i sits at (2 i + 1) / n - 1.
        place = (2 * (gap + rng.uniform(MARGIN, 1 - MARGIN, count)) + 1) / samples - 1
        borders.append(torch.from_numpy(place.astype(np.float32)))
    return StepSignal(tuple(borders), first)


def factored(count: int, axes: int) -> tuple[int, ...]:
    """A number of borders as a product over one or two axes, as near to a square as can be, the smaller number first.

    Args:
        count: 1 or more.
        axes: 1 or 2.
    """
    if axes == 1:
        return (count,)
    smaller = next(number for number in range(math.isqrt(count), 0, -1) if count % number == 0)
    return smaller, count // smaller
