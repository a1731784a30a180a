"""Sets of signals that are made when they are needed: a signal follows from its number alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.signals.sets import Item, SignalSet


@dataclass(frozen=True)
class GeneratedItem(Item):
    """One of them.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        seed: what it follows from: the series and its number there.
        data: how it is made.
        source: it has no file.
    """

    name: str
    seed: tuple[int, int]
    data: GeneratedSet
    source: None = None

    def load(self) -> Tensor:
        """Make it: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: it cannot be made here.
        """
        return self.data.make(self.seed)


@spec
class GeneratedSet(SignalSet):
    """Signals that are the same in every run, however many there are. A subclass says how one is made.

    Attributes:
        train_items: how many there are to learn from.
        val_items: how many others are held out.
    """

    train_items: Annotated[int, Field(ge=1)] = 256
    val_items: Annotated[int, Field(ge=0)] = 16

    @abstractmethod
    def make(self, seed: tuple[int, int]) -> Tensor:
        """The signal that follows from a series and a number: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: it cannot be made here.
        """

    def train(self) -> Sequence[GeneratedItem]:
        """The first ``train_items`` of them."""
        return [GeneratedItem(f"{self.title}-{number}", (0, number), self) for number in range(self.train_items)]

    def val(self) -> Sequence[GeneratedItem]:
        """The first ``val_items`` of another series."""
        return [GeneratedItem(f"{self.title}-val-{number}", (1, number), self) for number in range(self.val_items)]
