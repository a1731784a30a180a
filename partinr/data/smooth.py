"""Smooth signals that are made when they are asked for: a set of any size, for trials and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.data.image import Size
from partinr.data.sets import Item, SignalSet
from partinr.signals import smooth_signal
from partinr.spec import spec


@dataclass(frozen=True)
class SmoothItem(Item):
    """One of them.

    Attributes:
        name: see :class:`~partinr.data.Item`.
        seed: what it follows from.
        data: how it is made.
        source: it has no file.
    """

    name: str
    seed: tuple[int, int]
    data: SmoothData
    source: None = None

    def load(self) -> Tensor:
        """Make it: float32 ``[*shape, C]`` in [0, 1]."""
        data = self.data
        return smooth_signal(data.shape, data.channels, seed=self.seed, waves=data.waves, frequency=data.frequency)


@spec
class SmoothData(SignalSet):
    """Sums of few cosines of low frequency (:func:`~partinr.signals.smooth.smooth_signal`).

    A signal follows from its number alone: it is the same in every run, and however many there are.

    Attributes:
        shape: of the grid; two numbers make images.
        channels: C.
        train_items: how many there are to learn from.
        val_items: how many others are held out.
        waves: cosines a channel.
        frequency: the highest, in periods along an axis.
    """

    shape: Annotated[list[Size], Field(min_length=1)] = Field(default_factory=lambda: [64, 64])
    channels: Size = 3
    train_items: Annotated[int, Field(ge=1)] = 256
    val_items: Annotated[int, Field(ge=0)] = 16
    waves: Annotated[int, Field(ge=1)] = 6
    frequency: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0

    @property
    def title(self) -> str:
        """``smooth``."""
        return "smooth"

    def train(self) -> Sequence[SmoothItem]:
        """The first ``train_items`` of them."""
        return [SmoothItem(f"smooth-{number}", (0, number), self) for number in range(self.train_items)]

    def val(self) -> Sequence[SmoothItem]:
        """The first ``val_items`` of another series."""
        return [SmoothItem(f"smooth-val-{number}", (1, number), self) for number in range(self.val_items)]
