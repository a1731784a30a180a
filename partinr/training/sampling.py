"""Drawing more samples where the error is large."""

from __future__ import annotations

import torch
from torch import Tensor

FLOOR = 0.1
"""Part of the points that is drawn uniformly: every sample stays in play, and no weight exceeds 1 / ``FLOOR``."""


class ErrorSampler:
    """Draws samples in proportion to their error at the last evaluation, and weights them accordingly.

    A sample is drawn with probability ``p_i = (1 - FLOOR) e_i / sum(e) + FLOOR / M``, and its error counts
    ``1 / (M p_i)`` in the loss. So loss and gradient have the same expectation as over all samples, whatever the
    ``e_i`` are: the sampling is unbiased. It lowers the variance of the gradient as far as the ``e_i`` resemble the
    norms of the samples' gradients (Katharopoulos and Fleuret, "Not All Samples Are Created Equal", 2018; for neural
    fields Kheradmand et al., "Accelerating Neural Field Training via Soft Mining", 2024, whose exponent of the weights
    is 1 here). Adam's step is no linear function of the gradient, so its expectation differs nevertheless.

    The draw is stratified: one point from each of P equal parts of the probability. A sample may be drawn more than
    once.

    Args:
        network: int64 ``[M]`` on the CPU, the network of each sample.
        networks: the number of networks, N.
        seed: of the draws, together with the step and the ``e_i``.

    Attributes:
        errors: float32 ``[M]`` on the CPU, the ``e_i``; None before they are known, when all count alike.
        shares: float64 ``[N]``, the expected part of the points for each network.
    """

    def __init__(self, network: Tensor, networks: int, seed: int) -> None:
        self._network, self._networks, self._samples, self._seed = network, networks, len(network), seed
        self.refresh(None)

    def refresh(self, errors: Tensor | None) -> None:
        """Use new errors from now on.

        Args:
            errors: ``[M]``, 0 or more; None for all alike.
        """
        self.errors = None if errors is None else errors.detach().float().cpu()
        even = torch.full((self._samples,), 1 / self._samples, dtype=torch.float64)
        total = 0.0 if self.errors is None else float(self.errors.double().sum())
        # A perfect fit has no errors, and a diverged one none that are finite.
        if self.errors is None or not 0 < total < float("inf"):
            probability = even
        else:
            probability = (1 - FLOOR) * self.errors.double() / total + FLOOR * even
        self.shares = torch.zeros(self._networks, dtype=torch.float64).index_add_(0, self._network, probability)
        self._ends = probability.cumsum(0)
        self._weights = (1 / (self._samples * probability)).float().unsqueeze(1)

    def draw(self, points: int, step: int) -> Tensor:
        """The samples of a step, ascending: int64 ``[points]``."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + step) % 2**63)
        at = (torch.arange(points) + torch.rand(points, generator=generator, dtype=torch.float64)) / points
        return torch.searchsorted(self._ends, at * self._ends[-1], right=True).clamp_(max=self._samples - 1)

    def weights(self, drawn: Tensor) -> Tensor:
        """Weights of the errors of drawn samples: ``[P]`` to float32 ``[P, 1]``."""
        return self._weights[drawn]
