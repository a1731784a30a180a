"""Smooth signals: sums of a few cosines of low frequency, which small networks fit quickly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.spec import spec
from partinr.coords import grid_coords
from partinr.signals.image_data import Size
from partinr.signals.sets import GeneratedSet


@door
def smooth_signal(
    shape: Sequence[int], channels: int, *, seed: Sequence[int], waves: int = 6, frequency: float = 2.0
) -> Tensor:
    """A sum of cosines of random direction, frequency, phase and amplitude, independent in each channel.

    A place has the same value at every resolution.

    Args:
        shape: of the grid, each at least 1.
        channels: C.
        seed: whole numbers, 0 or more; the same numbers make the same signal.
        waves: number of cosines in each channel.
        frequency: highest along an axis, in periods over the extent of the signal.

    Returns:
        float32 ``[*shape, C]`` in [0, 1].
    """
    rng = np.random.default_rng(list(seed))
    # Over the extent, from -1 to 1, pi·f·x goes through f periods.
    direction = math.pi * rng.uniform(-frequency, frequency, (len(shape), channels, waves))
    phase = rng.uniform(0, 2 * math.pi, (channels, waves))
    height = rng.uniform(0.2, 1, (channels, waves))
    height /= 2 * height.sum(axis=-1, keepdims=True)
    angle = np.tensordot(grid_coords(shape).numpy(), direction, axes=1) + phase
    values = 0.5 + (height * np.cos(angle)).sum(axis=-1)
    return torch.from_numpy(values.astype(np.float32)).reshape(*shape, channels).clamp_(0, 1)


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
