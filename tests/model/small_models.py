"""Small models on partitions of every kind."""

from __future__ import annotations

import torch

from partinr.backbones import Siren
from partinr.partition import Grid, Partition, Whole

SMALL = Siren(hidden_features=6, hidden_layers=1, first_omega_0=9.0)

PARTITIONS = {
    "whole": Whole()(torch.zeros(5, 8, 3)),
    "grid": Grid(rows=2, cols=3)(torch.zeros(7, 10, 3)),
    "scattered": Partition(torch.tensor([[0, 0, 3, 1], [2, 0, 1, 1], [0, 2, 0, 1]])),
    "a region a pixel": Partition(torch.arange(6).reshape(2, 3)),
    "one pixel": Partition(torch.zeros(1, 1, dtype=torch.int64)),
    "one axis": Grid(regions=4)(torch.zeros(19, 1)),
}

FRAMES = ["global", "local"]


def signal_on(partition: Partition, channels: int = 3) -> torch.Tensor:
    """A signal on the grid of a partition."""
    return torch.rand(*partition.shape, channels, generator=torch.Generator().manual_seed(4))
