"""Samples that are drawn alike."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from partinr.base.seeds import derived
from partinr.base.spec import spec
from partinr.samplers.base import Draws, Pool, Sampler


@spec
class Uniform(Sampler):
    """Samples drawn uniformly from all signals together; all samples, unless a number or fraction is given."""

    blends: ClassVar[bool] = True

    @property
    def plain(self) -> bool:
        """Whether no fraction is given."""
        return self.fraction is None

    def begin(self, pool: Pool) -> Draws:
        """Shuffles."""
        return Shuffles(pool)


class Shuffles(Draws):
    """Every sample is drawn once before any is drawn again.

    An epoch is one shuffle of all samples, divided into steps; the few remaining samples differ between epochs. The
    samples follow from seed and step alone, so a resumed run draws the same samples as an uninterrupted one.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._order: tuple[int, Tensor] | None = None

    def draw(self, step: int) -> Tensor:
        """The rows of a step, ascending: int64 ``[P]``."""
        samples, points = self.pool.samples, self.points
        epoch, piece = divmod(step, samples // points)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derived(self.pool.seed, epoch))
            self._order = epoch, torch.randperm(samples, generator=generator)
        return self._order[1][piece * points : (piece + 1) * points].sort().values
