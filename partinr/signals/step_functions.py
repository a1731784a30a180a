"""Random step functions: alternating 1 and -1 along a line, and products of two of them in the plane.

Their borders are known exactly, so that training can be related to the number of borders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.coords import grid_coords
from partinr.signals.image_data import Size
from partinr.signals.sets import Item, SignalSet

MARGIN = 0.01
"""Least distance of a border from a sample, in sample distances, so that rounding cannot move it past the sample."""


@door
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


@door
def step_signal(counts: Sequence[int], shape: Sequence[int], *, seed: Sequence[int]) -> StepSignal:
    """A random step function with a given number of borders.

    The borders are uniform on [-1, 1], under the condition that a grid of the given shape shows them all: none lies
    beyond the outermost samples, and no two between the same two samples.

    Args:
        counts: borders along each axis, 0 or more.
        shape: shape of the grid.
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


@dataclass(frozen=True)
class StepItem(Item):
    """One step function.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        counts: borders along each axis.
        draw: its number among the functions with the same number of borders.
        data: the set that draws it.
        source: None, since it has no file.
    """

    name: str
    counts: tuple[int, ...]
    draw: int
    data: StepsData
    source: None = None

    @property
    def seed(self) -> tuple[int, ...]:
        """Seed of the function, independent of all others."""
        return (self.data.seed, *self.counts, self.draw)

    def signal(self) -> StepSignal:
        """The function, with the values 1 and -1."""
        return step_signal(self.counts, self.data.shape, seed=self.seed)

    def load(self) -> Tensor:
        """The values on the grid, as 1 and 0: float32 ``[*shape, 1]``."""
        return (self.signal().on_grid(self.data.shape) + 1) / 2


@spec
class StepsData(SignalSet):
    """Random step functions (:mod:`partinr.signals.step_functions`), several for each number of borders.

    Attributes:
        shape: of the grid; one number for functions along a line, two for functions in the plane.
        counts: numbers of borders; in the plane the product of the numbers along both axes, which are as equal as
            possible (10 is 2 and 5).
        draws: functions for each count.
        seed: of the borders, 0 or more.
    """

    shape: Annotated[list[Size], Field(min_length=1, max_length=2)] = Field(default_factory=lambda: [5000])
    counts: Annotated[list[Size], Field(min_length=1)] = Field(default_factory=lambda: list(range(1, 60, 2)))
    draws: Annotated[int, Field(ge=1)] = 5
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Check that the counts are unique.

        Raises:
            PartinrError: a count is given twice.
        """
        twice = {count for count in self.counts if self.counts.count(count) > 1}
        if twice:
            raise PartinrError(f"data.counts has {min(twice)} twice; for more functions of a kind give more data.draws")

    @property
    def title(self) -> str:
        """``steps``."""
        return "steps"

    def train(self) -> Sequence[StepItem]:
        """All functions, sorted by count."""
        axes = len(self.shape)
        return [
            StepItem(f"steps-{count}-{draw}", factored(count, axes), draw, self)
            for count in self.counts
            for draw in range(self.draws)
        ]

    def val(self) -> Sequence[StepItem]:
        """Empty: nothing is held out."""
        return []
