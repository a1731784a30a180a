"""Sets of random step functions with known numbers of borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.signals.image_data import Size
from partinr.signals.sets import Item, SignalSet
from partinr.signals.steps import StepSignal, factored, step_signal


@dataclass(frozen=True)
class StepItem(Item):
    """One step function.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        counts: borders along each axis.
        draw: its number among those with as many borders.
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
    """Random step functions (:mod:`partinr.signals.steps`), several for each number of borders.

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
            PartinrError: one is given twice.
        """
        twice = {count for count in self.counts if self.counts.count(count) > 1}
        if twice:
            raise PartinrError(f"data.counts has {min(twice)} twice; for more functions of a kind give more data.draws")

    @property
    def title(self) -> str:
        """``steps``."""
        return "steps"

    def train(self) -> Sequence[StepItem]:
        """All functions, count by count."""
        axes = len(self.shape)
        return [
            StepItem(f"steps-{count}-{draw}", factored(count, axes), draw, self)
            for count in self.counts
            for draw in range(self.draws)
        ]

    def val(self) -> Sequence[StepItem]:
        """Nothing is held out."""
        return []
