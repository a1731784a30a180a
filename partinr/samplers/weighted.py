"""Samples that are drawn more often than others, and weighted accordingly."""

from __future__ import annotations

import torch
from torch import Tensor

from partinr.base.seeds import derived
from partinr.samplers.base import Draws, Pool

FLOOR = 0.1
"""Fraction of points drawn uniformly, so that every sample is drawn and no weight exceeds 1 / ``FLOOR``."""


class Weighted(Draws):
    """Draws samples in proportion to a number for each.

    A sample is drawn with probability ``p_i = (1 - FLOOR) e_i / sum(e) + FLOOR / M``, and its error has the weight
    ``1 / (M p_i)`` in the loss. The expectation of loss and gradient therefore equals that over all samples, whatever
    the ``e_i`` are (importance sampling). Each step draws one point from each of P equal parts of the probability,
    which spreads the points evenly. A sample may be drawn more than once.

    Args:
        pool: the samples.
        correction: exponent of the weights; below 1 their mean is still 1, and samples that are drawn often count more.

    Attributes:
        liking: float32 ``[M]`` on the CPU, the ``e_i``; None before they are known; all samples are then alike.
    """

    def __init__(self, pool: Pool, correction: float = 1.0) -> None:
        super().__init__(pool)
        self._correction = correction
        self.prefer(None)

    def prefer(self, liking: Tensor | None) -> None:
        """Draw in proportion to other numbers from now on.

        Args:
            liking: ``[M]``, 0 or more; None to draw all samples alike.
        """
        self.liking = None if liking is None else liking.detach().float().cpu()
        samples = self.pool.samples
        even = torch.full((samples,), 1 / samples, dtype=torch.float64)
        total = 0.0 if self.liking is None else float(self.liking.double().sum())
        # The errors of an exact fit are all 0, and those of a diverged fit are not finite.
        if self.liking is None or not 0 < total < float("inf"):
            probability = even
        else:
            probability = (1 - FLOOR) * self.liking.double() / total + FLOOR * even
        self._shares = self.pool.sums(probability)
        self._ends = probability.cumsum(0)
        weights = 1 / (samples * probability)
        if self._correction != 1:
            weights = weights**self._correction
            weights /= (probability * weights).sum()
        self.weights = weights.float().unsqueeze(1)

    @property
    def shares(self) -> Tensor:
        """Expected number of points of each network: float64 ``[N]``."""
        return self.points * self._shares

    def draw(self, step: int) -> Tensor:
        """The rows of a step, ascending: int64 ``[P]``."""
        points = self.points
        generator = torch.Generator().manual_seed(derived(self.pool.seed, step))
        at = (torch.arange(points) + torch.rand(points, generator=generator, dtype=torch.float64)) / points
        return torch.searchsorted(self._ends, at * self._ends[-1], right=True).clamp_(max=self.pool.samples - 1)
