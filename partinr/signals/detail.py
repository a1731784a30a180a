"""How much there is to see at each place of a signal."""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_energy(signal: Tensor) -> Tensor:
    """Squared gradient of each sample, summed over axes and channels, from differences of neighbours.

    A difference of two neighbours counts half for each of them, so a border between two regions burdens both alike.

    Args:
        signal: floating ``[*grid, C]``.

    Returns:
        the same type, ``[*grid]``, 0 or more; 0 everywhere for a flat signal or a single sample.
    """
    energy = torch.zeros_like(signal[..., 0])
    for axis in range(signal.ndim - 1):
        squared = signal.diff(dim=axis).square().sum(-1) / 2
        n = signal.shape[axis]
        energy.narrow(axis, 0, n - 1).add_(squared)
        energy.narrow(axis, 1, n - 1).add_(squared)
    return energy
