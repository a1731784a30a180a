"""Sets of generated signals, each determined by its number."""

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
    """One generated signal.

    Attributes:
        name: see :class:`~partinr.signals.Item`.
        seed: the series, and the number in it.
        data: the set that makes it.
        source: None, since it has no file.
    """

    name: str
    seed: tuple[int, int]
    data: GeneratedSet
    source: None = None

    def load(self) -> Tensor:
        """The signal: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: it cannot be made on this machine.
        """
        return self.data.make(self.seed)


@spec
class GeneratedSet(SignalSet):
    """Generated signals, the same in every run and independent of their number. A subclass writes :meth:`make`.

    Attributes:
        train_items: number of signals to learn from.
        val_items: number of other signals, which are held out.
    """

    train_items: Annotated[int, Field(ge=1)] = 256
    val_items: Annotated[int, Field(ge=0)] = 16

    @abstractmethod
    def make(self, seed: tuple[int, int]) -> Tensor:
        """The signal of a series and a number: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: it cannot be made on this machine.
        """

    def train(self) -> Sequence[GeneratedItem]:
        """The first ``train_items`` signals."""
        return [GeneratedItem(f"{self.title}-{number}", (0, number), self) for number in range(self.train_items)]

    def val(self) -> Sequence[GeneratedItem]:
        """The first ``val_items`` signals of another series."""
        return [GeneratedItem(f"{self.title}-val-{number}", (1, number), self) for number in range(self.val_items)]
