"""Noise that is added once."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.seeds import derived
from partinr.base.spec import spec
from partinr.signals.observations.base import Observation, Pointwise


@spec
class Noise(Observation):
    """Noisy values, drawn once. They may lie outside [0, 1].

    Attributes:
        sigma: standard deviation of Gaussian noise, in values from 0 to 1; 0 for none.
        peak: number of photons that stand for the value 1: Poisson noise, before the Gaussian; None for none.
        seed: seed of the draw.
    """

    sigma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    peak: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def __post_init__(self) -> None:
        """Check that there is noise.

        Raises:
            PartinrError: there is none.
        """
        if not self.sigma and self.peak is None:
            raise PartinrError("observe.sigma=0 adds no noise; give more, or observe.peak, or observe=identity")

    def observe(self, signal: Tensor, number: int) -> Pointwise:
        """The noisy signal."""
        generator = torch.Generator().manual_seed(derived(self.seed, number))
        if self.peak is not None:
            signal = torch.poisson(signal * self.peak, generator=generator) / self.peak
        return Pointwise(signal + self.sigma * torch.randn(signal.shape, generator=generator))
