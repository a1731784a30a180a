"""Sets of smooth generated signals, for trials and tests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.signals.generated import GeneratedSet
from partinr.signals.image_data import Size
from partinr.signals.smooth import smooth_signal


@spec
class SmoothData(GeneratedSet):
    """Sums of a few cosines of low frequency (:func:`~partinr.signals.smooth.smooth_signal`).

    Attributes:
        shape: of the grid; two numbers make images.
        channels: C.
        waves: cosines in each channel.
        frequency: highest, in periods along an axis.
    """

    shape: Annotated[list[Size], Field(min_length=1)] = Field(default_factory=lambda: [64, 64])
    channels: Size = 3
    waves: Annotated[int, Field(ge=1)] = 6
    frequency: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0

    @property
    def title(self) -> str:
        """``smooth``."""
        return "smooth"

    def make(self, seed: tuple[int, int]) -> Tensor:
        """One signal: float32 ``[*shape, C]`` in [0, 1]."""
        return smooth_signal(self.shape, self.channels, seed=seed, waves=self.waves, frequency=self.frequency)
