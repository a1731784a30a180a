"""Random step functions: 1 and -1 in turn along a line, and products of two of them in the plane.

Their borders are known exactly, so that training can be related to the number of borders.
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
"""Least distance of a border from a sample, in gaps between samples, so that rounding cannot move it past one."""


@dataclass(frozen=True, eq=False)
class StepSignal:
    """A function on [-1, 1]^d with the values 1 and -1 that changes its sign at every border of every axis.

    Attributes:
        borders: float32 ``[n]`` for each axis, ascending, in (-1, 1).
        first: the value at the lower ends of all axes, 1 or -1.
    """

    borders: tuple[Tensor, ...]
    first: int

    lowest: ClassVar[float] = -1.0
    """Lowest value; the highest is 1."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Borders along each axis."""
        return tuple(len(each) for each in self.borders)

    @property
    def cells(self) -> int:
        """Number of constant pieces; two that share a side have different values."""
        return math.prod(count + 1 for count in self.counts)

    @property
    def boundaries(self) -> int:
        """Number of sides between two cells; along a line the number of borders.

        With m and n borders in the plane that is 2 m n + m + n.
        """
        return sum(count * self.cells // (count + 1) for count in self.counts)

    def __call__(self, coords: Tensor) -> Tensor:
        """The values at some points.

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
        """The values at the samples of a grid: float32 ``[*shape, 1]``."""
        return self(grid_coords(shape).float()).reshape(*shape, 1)


def step_signal(counts: Sequence[int], shape: Sequence[int], *, seed: Sequence[int]) -> StepSignal:
    """A random step function with a given number of borders.

    The borders are uniform on [-1, 1], under the condition that a grid of the given shape shows them all: none lies
    beyond the outermost samples, and no two between the same two samples.

    Args:
        counts: borders along each axis, 0 or more.
        shape: of the grid.
        seed: whole numbers, 0 or more; the same numbers make the same signal.

    Raises:
        PartinrError: the grid has too few samples.
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
    """A number of borders as a product over one or two axes, as equal as possible, the smaller number first.

    Args:
        count: 1 or more.
        axes: 1 or 2.
    """
    if axes == 1:
        return (count,)
    smaller = next(number for number in range(math.isqrt(count), 0, -1) if count % number == 0)
    return smaller, count // smaller
