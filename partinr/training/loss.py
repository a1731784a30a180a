"""The weights of samples in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from partinr.partition import Partition

_FLAT = 1e-12
"""Keeps the gradient of a root finite where neighbours are equal."""


def sample_weights(
    partitions: Sequence[Partition], *, by_region: bool, border_weight: float = 1.0, border_width: int = 2
) -> Tensor | None:
    """The weight of each sample in the sum of squared errors; the sum over M samples / M is the loss.

    Args:
        partitions: partition of each signal. With the weights, the result is the sum of the signals' losses.
        by_region: the loss of a signal is the mean over its regions of each region's mean, not the mean over samples.
        border_weight: weight of a sample near a border between regions, relative to other samples.
        border_width: a sample is near a border if another region is within this many samples along an axis.

    Returns:
        float32 ``[M, 1]``, sorted by signal, each row-major; None if all weights are 1.
    """
    bordered = border_weight != 1
    if not by_region and len(partitions) == 1 and not bordered:
        return None
    samples = sum(partition.labels.numel() for partition in partitions)
    weights = []
    for partition in partitions:
        labels = partition.labels.reshape(-1)
        group = labels if by_region else torch.zeros_like(labels)
        sizes = torch.bincount(group)
        weight = (samples / (len(sizes) * sizes.double()))[group]
        if bordered:
            factor = torch.ones_like(weight)
            factor[partition.near_border(border_width).reshape(-1)] = border_weight
            # Dividing by the mean keeps the scale of the loss, and so the meaning of a learning rate.
            weight *= factor * (sizes / torch.bincount(group, weights=factor))[group]
        weights.append(weight)
    return torch.cat(weights).float().unsqueeze(-1)


def seen_weights(
    weights: Tensor | None, visible: Sequence[Tensor | None], partitions: Sequence[Partition], *, by_region: bool
) -> Tensor | None:
    """The weights of samples of which some are seen more than others, or not at all.

    Args:
        weights: of the samples if all were seen, as :func:`sample_weights` gives them.
        visible: of each signal, float32 ``[*grid, 1]``, the weight of each sample by what is seen; None for all 1.
        partitions: partition of each signal.
        by_region: keep the sum of the weights of each region, so that the loss is a mean over what is seen of it; else
            that of each signal. A region of which nothing is seen has weight 0.

    Returns:
        as for :func:`sample_weights`.
    """
    if all(each is None for each in visible):
        return weights
    counts = [partition.labels.numel() for partition in partitions]
    before = [torch.ones(count, 1) for count in counts] if weights is None else list(weights.split(counts))
    found = []
    for own, seen, partition in zip(before, visible, partitions, strict=True):
        labels = partition.labels.reshape(-1)
        group = labels if by_region else torch.zeros_like(labels)
        flat = own.reshape(-1).double()
        new = flat if seen is None else flat * seen.reshape(-1)
        sums, wanted = (torch.bincount(group, weights=each) for each in (new, flat))
        found.append(new * torch.where(sums > 0, wanted / sums, 0)[group])
    return torch.cat(found).float().unsqueeze(-1)


def total_variation(values: Tensor) -> Tensor:
    """The mean length of the gradient of values ``[*grid, C]``, by differences of neighbours: a scalar."""
    squares = torch.full_like(values, _FLAT)
    for axis in range(values.ndim - 1):
        step = torch.diff(values, dim=axis, append=values.narrow(axis, -1, 1))
        squares = squares + step.square()
    return squares.sqrt().mean()
