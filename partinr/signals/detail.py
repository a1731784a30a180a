"""The amount of detail at each place of a signal."""

from __future__ import annotations

import torch
from torch import Tensor

from partinr.base.environment import door

FLAT_DETAIL = 1e-4
"""Least gradient energy of a sample, so that of two flat regions the larger one has more."""


@door
def gradient_energy(signal: Tensor) -> Tensor:
    """Squared gradient of each sample, summed over axes and channels, from differences of neighbours.

    A difference counts half for each of the two neighbours, so a border between two regions counts equally for both.

    Args:
        signal: floating ``[*grid, C]``.

    Returns:
        ``[*grid]`` of the same type, 0 or more; 0 everywhere for a flat signal or a single sample.
    """
    energy = torch.zeros_like(signal[..., 0])
    for axis in range(signal.ndim - 1):
        squared = signal.diff(dim=axis).square().sum(-1) / 2
        n = signal.shape[axis]
        energy.narrow(axis, 0, n - 1).add_(squared)
        energy.narrow(axis, 1, n - 1).add_(squared)
    return energy


@door
def region_detail(signal: Tensor, labels: Tensor, regions: int) -> Tensor:
    """The detail of each region: its gradient energy, plus :data:`FLAT_DETAIL` for each sample.

    Args:
        signal: floating ``[*grid, C]``.
        labels: int64 ``[*grid]``, 0 … regions - 1.
        regions: their number.

    Returns:
        float64 ``[regions]``, above 0 for every region with a sample.
    """
    flat = labels.reshape(-1)
    energy = torch.bincount(flat, gradient_energy(signal.double()).reshape(-1), regions)
    return energy + FLAT_DETAIL * torch.bincount(flat, minlength=regions)
