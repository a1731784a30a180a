"""The weights of samples in the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from partinr.partition import Partition


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
